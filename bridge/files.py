"""Files that are whole or absent, and folders that one process writes at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from bridge.errors import StorageError, UserError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary path)``, then move it to ``path``: a reader sees all of a file or none of it.

    Raises:
        StorageError: the disk is full or the folder cannot be written; what was there before is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _storage(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text))


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary folder)``, then move it to ``path``, where at most an empty folder is: all of it or none.

    Raises:
        StorageError: as ``write_whole``.
    """
    path = path.absolute()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _storage(path):
        try:
            temporary.mkdir(parents=True)
            write(temporary)
            for file in filter(Path.is_file, temporary.rglob("*")):
                with file.open("rb") as written:
                    os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def append_line(path: Path, line: str) -> None:
    """One more line of a log.

    Raises:
        StorageError: as ``write_whole``.
    """
    with _storage(path), path.open("a") as file:
        file.write(line + "\n")


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold a folder while working in it; the lock goes with the process, whatever ends it.

    Raises:
        UserError: another process holds it.
        StorageError: as ``write_whole``.
    """
    with _storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"Another process is writing to {folder}. Wait for it, or choose another --out.") from None
        yield


@contextmanager
def _storage(path: Path) -> Generator[None]:
    """Say what could not be written and what to do."""
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else error.strerror
        raise StorageError(
            f"Could not write {path}: {reason}. What was finished before is kept; make room (or choose another --out) "
            "and run the same command again to go on."
        ) from error
