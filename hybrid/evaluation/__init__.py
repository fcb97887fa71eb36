"""Evaluation: tasks as data, encoding, exact search, measures, language bias, statistics, reports."""
