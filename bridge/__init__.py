"""Shared by both tracks: tasks and their splits, the adaptation interface and the evaluator."""
