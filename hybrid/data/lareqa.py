"""LAReQA's form: SQuAD's, with the sentences of each paragraph (Roy et al. 2020, XQuAD-R and MLQA-R)."""

from typing import Any

from hybrid.data.records import Paragraph
from hybrid.data.report import Report
from hybrid.data.squad import each_paragraph, question_of
from hybrid.runtime.errors import InputError


def read_lareqa(path: str, report: Report | None = None) -> list[Paragraph]:
    """Read the paragraphs of one file with their sentences, ``sentence_breaks`` in the file.

    Raises InputError, with file and position, if the file is missing, broken or of another format.
    """
    report = report or Report(str(path))
    paragraphs = []
    for number, (article, content) in enumerate(each_paragraph(path)):
        context, breaks = content["context"], content.get("sentence_breaks")
        if not isinstance(breaks, list) or not breaks or not all(_is_span(span, len(context)) for span in breaks):
            raise InputError(
                f'{path}: "sentence_breaks" of paragraph {number} ({article!r}) is {breaks!r:.60}; expected [start, '
                f"stop] of each sentence, within its {len(context)} characters. Read it as format squad instead."
            )
        questions = [question_of(qa, context, str(path), report) for qa in content["qas"]]
        kept = [question for question in questions if question]
        paragraphs.append(Paragraph(article, context, [(start, stop) for start, stop in breaks], kept))
    return paragraphs


def _is_span(span: Any, length: int) -> bool:
    whole = isinstance(span, list) and len(span) == 2 and all(type(end) is int for end in span)
    return whole and 0 <= span[0] < span[1] <= length
