"""Readers by format, ParallelCorpus, TokenStore, collation, leakage check."""

from hybrid.data.config import DataConfig

__all__ = ["DataConfig"]
