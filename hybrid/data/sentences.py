"""Sentences of a paragraph, and the text of a candidate: the one place for both training and evaluation."""


def candidate_text(sentence: str, paragraph: str) -> str:
    """Return the text that is encoded for a sentence of a paragraph (LAReQA, arXiv 2004.05484, section 3)."""
    return f"{sentence.strip()} {paragraph.strip()}"


def split_sentences(text: str, language: str) -> list[tuple[int, int]]:
    """Return the start and end of each sentence, white space around it left out, by sentencex's rules for a language.

    A language without rules takes those of the nearest one that has some, in the end English.
    """
    from sentencex import segment

    spans, at = [], 0
    for piece in segment(language, text):
        bare = piece.strip()
        if not bare:
            continue
        start = text.index(bare, at)
        spans.append((start, start + len(bare)))
        at = start + len(bare)
    return spans or [(0, len(text))]
