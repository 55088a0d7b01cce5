"""Sentences and exit codes for errors that are not about the input: too little memory or room, a fault of a user's own
code, or one of ours."""

from __future__ import annotations

import errno
from pathlib import Path

from bridge.errors import in_words
from experiments.streams import discard_output


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit code of an error that is no ``UserError``, and a sentence; a fault of a user's own code, or of
    ours, leaves its traceback in a temporary file.

    Libraries need a folder for temporary files, some as soon as they are imported: the lack of one is no fault of ours.
    """
    import tempfile
    import traceback

    from bridge import user_code

    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return 2, _too_long(error)
    if _is_short_of_memory(error):
        return 2, f"this needs more memory than there is ({error}). Ask for less."
    theirs = user_code.is_at_fault(error)
    fault = user_code.described(error) if theirs else f"{in_words(error)}\n{_whose()}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="metabridge-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            traceback.print_exc(file=file)
    except OSError as lack:
        full = f"no temporary file could be written: {lack.strerror}. Make room, or name another folder in TMPDIR."
        if str(lack) == str(error):
            return 2, full
        return 2 if theirs else 1, f"{fault}. To have its details, run it again: {full}"
    if (
        isinstance(error, OSError) and error.errno == errno.ENOSPC
    ):  # our own files raise StorageError
        Path(file.name).unlink()
        discard_output()
        return (
            2,
            "standard output could not be written: the disk is full. Make room, or send it elsewhere.",
        )
    return 2 if theirs else 1, f"{fault}; its details are in {file.name}."


def _whose() -> str:
    """A sentence on an error that arose in our own lines, perhaps from what a user's code returned."""
    from bridge import user_code

    if not (own := user_code.loaded()):
        return "This is a fault of ours"
    return (
        f"This is a fault of {' or '.join(own)} (metabridge check finds most of them), or of ours"
    )


def _is_short_of_memory(error: Exception) -> bool:
    """True if memory ran out, which torch states in words alone."""
    text = str(error)
    return isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text


def _too_long(error: OSError) -> str:
    longest = max(Path(error.filename or "").parts, key=len, default="")
    return (
        f"{longest[:40]}... ({len(longest)} characters) is too long: a file's name has at most 255 bytes, a whole path "
        "4,095. Choose a shorter one."
    )
