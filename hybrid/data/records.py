"""What a reader gives: paragraphs with their sentences and questions."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Question:
    """A question and where its answer starts in the paragraph, in characters."""

    id: str
    question: str
    answer_start: int
    answer_text: str


@dataclass
class Paragraph:
    """One paragraph of one language."""

    article: str
    context: str
    sentences: list[tuple[int, int]]
    """Start and end of each sentence, in characters; they cover the paragraph but for white space."""
    questions: list[Question] = field(default_factory=list)
