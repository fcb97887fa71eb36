"""TREC's and MS MARCO's form: queries and passages as TSV, one file a language, judgments for all of them."""

from collections import defaultdict
from collections.abc import Iterator

from hybrid.data.files import read_lines
from hybrid.data.records import Row
from hybrid.data.report import Report
from hybrid.runtime.errors import InputError


def read_qrels(path: str) -> dict[str, tuple[list[str], list[str]]]:
    """Return, by query id, the relevant and the judged non-relevant document ids.

    Lines are ``query 0 document relevance`` or ``query document``, columns apart by white space.
    """
    judged: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for number, line in read_lines(path):
        columns = line.split()
        if len(columns) not in (2, 4) or (len(columns) == 4 and not columns[3].lstrip("-").isdigit()):
            raise InputError(
                f"{path}, line {number}: is {line[:60]!r}; expected `query 0 document relevance` or `query document`."
            )
        document, relevant = (columns[2], int(columns[3]) > 0) if len(columns) == 4 else (columns[1], True)
        judged[columns[0]][0 if relevant else 1].append(document)
    return dict(judged)


def trec_rows(
    queries: list[str],
    passages: list[str],
    qrels: dict[str, tuple[list[str], list[str]]],
    language: str,
    report: Report,
) -> Iterator[Row]:
    """Yield a row for each relevant judgment whose query and document one language has.

    Rows are joined across languages by (query, document); documents that answer one query are of one group. Holds the
    judged documents of one language in memory.
    """
    wanted = {name for relevant, others in qrels.values() for name in (*relevant, *others)}
    documents = {name: text for path in passages for name, text in _texts(path) if name in wanted}
    for path in queries:
        for query, text in _texts(path):
            relevant, others = qrels.get(query, ([], []))
            negatives = [documents[name] for name in others if name in documents]
            if not relevant:
                report.note("query without a relevant document", f"{path}, id {query}", bad=False)
            for name in relevant:
                if name not in documents:
                    report.note(f"document of the qrels is not in {', '.join(passages)}", f"{path}, id {query} {name}")
                    continue
                yield Row(
                    f"{query} {name}", text, language, documents[name], language, group=query, negatives=negatives
                )


def _texts(path: str) -> Iterator[tuple[str, str]]:
    """Yield (id, text) of ``id<TAB>text`` or ``id<TAB>title<TAB>text``; title and text are joined by a line's end."""
    for number, line in read_lines(path):
        name, *texts = line.split("\t")
        if not 1 <= len(texts) <= 2 or not name:
            raise InputError(f"{path}, line {number}: has {len(texts) + 1} columns; expected `id<TAB>text`.")
        if any(text.strip() for text in texts):
            yield name, "\n".join(text for text in texts if text)
