"""The one exception that is meant for the user."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input, told in one sentence: the place, what was found, what was expected, the remedy.

    Entry points print the sentence and exit with status 2; no traceback is shown for it.
    """


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the InputError that a library has wrapped, as jsonargparse does where a section may be null."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        cause = error.__cause__
        while cause and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause:
            raise cause from None
        raise


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` for the known name closest to `name`, or an empty string."""
    found = get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f", did you mean {found[0]!r}?" if found else ""


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
