"""Retrieval out of parallel question answering data: which candidates there are and which of them answer a question.

In the form ``sentence_in_paragraph`` (LAReQA, arXiv 2004.05484) each sentence of each paragraph is a candidate, encoded
as the sentence and its paragraph; the one that holds the start of the answer is relevant. In the form ``paragraph``
each distinct paragraph is one. A question's candidate is relevant to the questions of the same id in all languages.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from hybrid.data.records import Paragraph
from hybrid.data.sentences import candidate_text, sentence_of
from hybrid.evaluation.collection import Collection, Texts

Form = Literal["sentence_in_paragraph", "paragraph"]


def passage_collection(
    paragraphs: Mapping[str, Sequence[Paragraph]], form: Form = "sentence_in_paragraph"
) -> Collection:
    """Return the queries and candidates of parallel paragraphs, given by language code."""
    languages = tuple(sorted(paragraphs))
    documents, document_ids, document_language = [], [], []
    queries, query_ids, query_language, question_id = [], [], [], []
    answers: dict[str, list[int]] = defaultdict(list)
    for number, language in enumerate(languages):
        rows: dict[str, int] = {}
        for place, paragraph in enumerate(paragraphs[language]):
            texts, names = _candidates(paragraph, f"{language}-{place:05d}", form)
            for text, name in zip(texts, names, strict=True):
                if form == "sentence_in_paragraph" or text not in rows:
                    rows[text] = len(documents)
                    documents.append(text)
                    document_ids.append(name)
                    document_language.append(number)
            first = len(documents) - len(texts)
            for question in paragraph.questions:
                own = sentence_of(paragraph.sentences, question.answer_start)
                answers[question.id].append(rows[texts[0]] if form == "paragraph" else first + own)
                queries.append(question.question)
                query_ids.append(f"{language}-{'_'.join(question.id.split())}")
                query_language.append(number)
                question_id.append(question.id)
    numbers = {name: number for number, name in enumerate(answers)}
    pairs = {(row, answer) for row, name in enumerate(question_id) for answer in answers[name]}
    return Collection(
        languages=languages,
        queries=Texts(query_ids, queries, np.array(query_language, np.int32)),
        documents=Texts(document_ids, documents, np.array(document_language, np.int32)),
        relevant=np.array(sorted(pairs), np.int64).reshape(-1, 2),
        question=np.array([numbers[name] for name in question_id], np.int64),
    )


def _candidates(paragraph: Paragraph, name: str, form: Form) -> tuple[list[str], list[str]]:
    if form == "paragraph":
        return [paragraph.context], [name]
    texts = [candidate_text(paragraph.context[start:stop], paragraph.context) for start, stop in paragraph.sentences]
    return texts, [f"{name}-{number:02d}" for number in range(len(texts))]
