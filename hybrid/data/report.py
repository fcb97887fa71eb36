"""What was wrong with a data set's rows: counted by cause, with the first examples."""

from dataclasses import dataclass, field

from hybrid.runtime.errors import InputError

EXAMPLES = 3


@dataclass
class Report:
    """Counts what a reader leaves out or mends."""

    name: str
    """What is read: the data set's key in the recipe."""
    strict: bool = False
    """Raise InputError at the first bad row."""
    counts: dict[str, int] = field(default_factory=dict)
    """Rows by cause."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """File and id of the first rows of each cause."""

    def note(self, cause: str, place: str, bad: bool = True) -> None:
        """Count a row; `place` is its file and id. What is not `bad` is no error under `strict` either."""
        place = place.encode("utf-8", "backslashreplace").decode()  # half a character can be neither shown nor written
        if bad and self.strict:
            raise InputError(f"{place}: {cause}; mend the row, or unset data.strict to have it left out and counted.")
        self.counts[cause] = self.counts.get(cause, 0) + 1
        if len(few := self.examples.setdefault(cause, [])) < EXAMPLES:
            few.append(place)

    def lines(self) -> list[str]:
        """Return one sentence per cause."""
        return [
            f"{self.name}: {count} rows: {cause}, such as {'; '.join(self.examples.get(cause, []))}"
            for cause, count in self.counts.items()
        ]
