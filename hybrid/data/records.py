"""Plain records that readers give, whatever the format of their files."""

from dataclasses import dataclass, field


@dataclass
class Question:
    """A question about a paragraph."""

    id: str
    question: str
    answer_start: int
    """Character of the paragraph at which the answer begins."""
    answer_text: str
    answers: list[str] = field(default_factory=list)
    """Texts of all answers that the file gives, wherever they stand."""


@dataclass
class Paragraph:
    """A paragraph in one language and the questions that it answers."""

    article: str
    context: str
    sentences: list[tuple[int, int]]
    """First character and the one after the last of each sentence, in order."""
    questions: list[Question]


@dataclass
class Row:
    """One question and the passage that answers it."""

    id: str
    """The same in all languages of one item."""
    query: str
    query_language: str
    passage: str
    passage_language: str
    answer_start: int | None = None
    """Character of the passage at which the answer begins; None where the passage as a whole is the answer."""
    sentences: list[tuple[int, int]] | None = None
    """Sentences where the file tells them; None leaves them to the segmenter."""
    article: str | None = None
    """Name of the document that the passage is part of; None where the passage stands alone."""
    group: str | None = None
    """Name that rows share whose passages answer the same; None where only equal passages do."""
    negatives: list[str] = field(default_factory=list)
    """Passages in the passage's language that do not answer the question."""
    answers: list[str] = field(default_factory=list)
    """Texts of all answers that the file gives, wherever they stand; mining looks for them, training does not."""
    named: bool = True
    """Whether the file gave the id; one that was made up says nothing about other files."""
