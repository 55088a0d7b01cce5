"""Files that are whole or absent, folders that one process writes at a time, and errors of storage.

All text is UTF-8, whatever the locale.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from bridge.errors import StorageError, UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_HELD = (errno.EWOULDBLOCK, errno.EACCES)
"""Error codes of ``flock`` if another process has the lock; any other means that the file system has none."""
_ROOM = 1 << 18
"""Bytes that ``probe`` writes."""
_LONGEST = 160
"""Bytes of a part of a file's name: most file systems allow 255, with what is added before and after."""
_SUMS = "SHA256SUMS"
"""The file of checksums in a folder, as ``sha256sum --check`` reads it."""


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary path)``, then move it to ``path``: a reader sees all of a file or none of it.

    The file's permissions are those of the umask, even if ``write`` makes it in a way of its own (safetensors writes
    files that nobody else may read).

    Raises:
        StorageError: the disk is full or the folder cannot be written; what was there before is untouched.
    """
    temporary = _temporary(path)
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()
            mode = temporary.stat().st_mode & 0o777
            write(temporary)
            _settle(temporary, mode)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary folder)``, then move it to ``path``, where at most an empty folder is: all of it or none.

    The checksums of its weights are written beside them, for ``verify`` and ``sha256sum --check``.

    Raises:
        StorageError: as ``write_whole``.
    """
    path = path.absolute()
    temporary = _temporary(path)
    with storage_errors(path):
        try:
            shutil.rmtree(temporary, ignore_errors=True)  # of a killed process with the same number
            temporary.mkdir(parents=True)
            mode = temporary.stat().st_mode & 0o666
            write(temporary)
            weights = sorted(
                file.relative_to(temporary).as_posix() for file in temporary.rglob("*.safetensors")
            )
            if weights:
                sums = "".join(f"{_sha256(temporary / name)}  {name}\n" for name in weights)
                (temporary / _SUMS).write_text(sums, encoding="utf-8")
            for file in filter(Path.is_file, temporary.rglob("*")):
                _settle(file, mode)
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def verify(folder: Path) -> None:
    """Compare the weights in a folder of ``write_folder`` with their checksums; without a list of these nothing is.

    Raises:
        UserError: a file has changed, is missing or may not be read.
    """
    sums = folder / _SUMS
    if not sums.exists():
        return
    for line in read_text(sums).splitlines():
        wanted, _, name = line.partition("  ")
        try:
            found = _sha256(folder / name)
        except OSError as error:
            raise unreadable(folder / name, error) from error
        if found != wanted:
            raise UserError(
                f"{folder / name} is damaged, or was changed: it is not what {sums} says. Copy it again, or make it "
                f"again; if you changed it yourself, remove {sums}."
            )


def append_line(path: Path, line: str) -> None:
    """One more line of a log.

    Raises:
        StorageError: as ``write_whole``.
    """
    with storage_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        UserError: it may not be read, is not there or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read: expected text in UTF-8, found {error}.") from error


def probe(path: Path) -> None:
    """Write some bytes where ``path`` is to be and remove them: known before work is done that could not be kept.

    Raises:
        StorageError: as ``write_whole``.
    """
    temporary = _temporary(path)
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(bytes(_ROOM))
            _settle(temporary)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def check_name(path: Path) -> None:
    """Make sure that the file system can have a file of this name there, without making one.

    Raises:
        StorageError: it is too long.
    """
    with storage_errors(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        _temporary(path).lstat()


def name_of(*parts: str) -> str:
    """Specs as a part of a file's name: readable, and never the name of others.

    ``:`` and ``,`` become ``-``, as does every other character that is not for names. If that loses something
    (``1e+3``) or the name is too long, it ends with a digest of the specs.
    """
    whole = "--".join(parts)
    stem = "".join(c if c.isalnum() or c in "_=." else "-" for c in whole)
    if len(stem.encode()) <= _LONGEST and not re.search(
        r"[^\w=.:,]", re.sub(r"(?<=\d)e-(?=\d)", "", "".join(parts))
    ):
        return stem
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    short = stem.encode()[: _LONGEST - len(digest) - 2].decode(errors="ignore")
    return f"{short}--{digest}"


@contextmanager
def locked(folder: Path, tell: Callable[[str], None] | None = None) -> Generator[None]:
    """Hold a folder while working in it; the lock goes with the process, whatever ends it.

    On file systems without locks nothing is held, and ``tell`` (standard error) gets a warning.

    Raises:
        UserError: another process holds it.
        StorageError: as ``write_whole``.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w", encoding="utf-8")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise UserError(
                    f"Another process is writing to {folder}. Wait for it, or choose another --out."
                ) from None
            (tell or say)(
                f"The file system of {folder} has no locks ({error.strerror}), so that a second process could write "
                "there at the same time. Start one at a time."
            )
        yield


@contextmanager
def storage_errors(path: Path) -> Generator[None]:
    """Inside this context an error of storage, of whatever library, becomes a ``StorageError`` with the remedy.

    Raises:
        StorageError: ``path`` could not be written.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if _code(error) is None and not isinstance(error, OSError):
            raise
        raise storage_error(path, error) from error


def storage_error(path: Path, error: Exception) -> StorageError:
    """The error for a file that could not be written because of ``error``."""
    code = _code(error)
    reason, remedy = os.strerror(code) if code else str(error), "choose another --out"
    if code in _FULL:
        reason, remedy = "the disk is full", "make room (or choose another --out)"
    elif code in _DENIED:
        remedy = "ask for permission to write there (or choose another --out)"
    elif code == errno.ENAMETOOLONG:
        remedy = "choose a shorter --out"
    return StorageError(
        f"Could not write {path}: {reason}. What was finished before is kept; {remedy} and run the same command again "
        "to go on (train, finetune: with --resume)."
    )


def check_readable(path: Path) -> None:
    """Make sure that a file is there and may be read, so that whatever else is wrong with it is its content.

    Raises:
        UserError: it is not, or may not.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> UserError:
    """The error for a file that may be sound, but cannot be read here: permission and the like."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = (
        "Ask its owner for permission to read it"
        if error.errno in _DENIED
        else "See whether it is there"
    )
    return UserError(
        f"{path} cannot be read: {reason}. {remedy}, or copy it to where you can read it."
    )


def _code(error: BaseException | None) -> int | None:
    """The number of the system's error that ``error`` is, was caused by or speaks of; None if there is none.

    Libraries that write in Rust or C++ (safetensors, duckdb) have errors of their own, which have it in their text.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        text = str(error)
        if found := re.search(r"\(os error (\d+)\)", text):
            return int(found[1])
        if full := [code for code in _FULL if os.strerror(code) in text]:
            return full[0]
        error = error.__cause__
    return None


def _temporary(path: Path) -> Path:
    """A hidden path beside ``path``, this process's own."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _settle(file: Path, mode: int | None = None) -> None:
    """Make sure that a file is on the disk, with these permissions."""
    with file.open("rb") as written:
        os.fsync(written.fileno())
        if mode is not None and os.fstat(written.fileno()).st_mode & 0o777 != mode:
            file.chmod(mode)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def say(text: str) -> None:
    """Print a notice to standard error, if there is no progress bar."""
    print(text, file=sys.stderr)
