"""Numbers of things in sentences."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return ``1 cell``, ``2 cells`` or ``1,200 cells`` of a noun whose plural ends in s."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
