"""Standard streams on which printing never fails, whatever their encoding."""

from __future__ import annotations

import contextlib
import io
import os
import sys


def replace_unknown_characters() -> None:
    """From now on a character that the encoding of a standard stream lacks (``±`` in ASCII) is printed as ``?``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def discard_output() -> None:
    """Send what standard output still holds to nowhere, so that Python's flush at exit cannot fail again."""
    with contextlib.suppress(OSError):  # a stream in memory has no file descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
