"""LAReQA's form: SQuAD's, with the sentences of each paragraph (Roy et al. 2020, XQuAD-R and MLQA-R)."""

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
        if not breaks or not all(0 <= start < stop <= len(context) for start, stop in breaks):
            raise InputError(
                f'{path}: "sentence_breaks" of paragraph {number} ({article!r}) is {breaks!r:.60}; expected [start, '
                f"stop] of each sentence, within its {len(context)} characters. Read it as format squad instead."
            )
        questions = [question_of(qa, context, str(path), report) for qa in content["qas"]]
        kept = [question for question in questions if question]
        paragraphs.append(Paragraph(article, context, [(start, stop) for start, stop in breaks], kept))
    return paragraphs
