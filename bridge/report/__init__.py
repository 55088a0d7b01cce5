"""Summaries, tables and figures of a results folder, derived from its rows."""
