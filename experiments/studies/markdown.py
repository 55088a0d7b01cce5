"""Markdown tables of the studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan

from bridge.evaluation.stats import Interval


def table(heads: Sequence[object], rows: Iterable[Sequence[object]], *, texts: int) -> str:
    """Return a table whose first ``texts`` columns are left-aligned, and the others right-aligned as numbers."""
    rule = "|---|" + "---|" * (texts - 1) + "--:|" * (len(heads) - texts)
    lines = [_line(heads), rule, *(_line(row) for row in rows)]
    return "\n".join(lines)


def number(found: Interval) -> str:
    """Return a mean with half of its interval."""
    return f"{found.mean:.3f} ±{found.half:.3f}"


def short(found: Interval | None, digits: int = 2, *, bare: bool = False) -> str:
    """Return ``0.83 ±0.02``; the mean alone if it is ``bare`` or has no interval, and nothing without a number."""
    if found is None or isnan(found.mean):
        return ""
    half = "" if bare or isnan(found.half) else f" ±{found.half:.{digits}f}"
    return f"{found.mean:.{digits}f}{half}"


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
