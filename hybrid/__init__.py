"""Training and evaluation of language-agnostic dense retrievers with hybrid batches (arXiv 2408.10536)."""
