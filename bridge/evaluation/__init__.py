"""Evaluation: plays trials, keeps their sums as rows, and estimates scores with intervals."""
