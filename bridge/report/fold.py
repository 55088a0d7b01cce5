"""Names in narrow columns: lines that break between the words of a name."""

from __future__ import annotations

import re
from collections.abc import Iterable


def fold(text: str, width: int) -> str:
    """The text in as few lines of at most ``width`` characters as possible, and these as even as possible.

    Lines break after ``_``, ``/``, ``:``, ``,`` and spaces. A piece that is longer than ``width`` breaks anywhere.
    """
    pieces = [re.findall(r"[^_/:, ]+[_/:, ]*|[_/:, ]+", line) for line in text.split("\n")]
    longest = max((len(piece.rstrip()) for line in pieces for piece in line), default=0)
    lines = _filled(pieces, width)
    for narrower in range(width - 1, longest - 1 if longest <= width else 0, -1):
        even = _filled(pieces, narrower)
        if len(even) > len(lines):
            break
        lines = even
    return "\n".join(lines)


def _filled(pieces: Iterable[list[str]], width: int) -> list[str]:
    """Lines that hold as many pieces as fit."""
    lines = []
    for line in pieces:
        lines.append("")
        for piece in line:
            if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
                lines.append("")
            lines[-1] += piece
            while len(lines[-1].rstrip()) > width:
                lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return [line.rstrip() for line in lines]
