"""Standard streams on which printing never fails, whatever their encoding."""

from __future__ import annotations

import io
import sys


def replace_unknown_characters() -> None:
    """From now on a character that the encoding of a standard stream lacks (``±`` in ASCII) is printed as ``?``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
