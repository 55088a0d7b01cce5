"""Atomic writing of files and folders, folders locked by one process, and errors of storage with remedies.

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

Tell = Callable[[str], None]
"""A function that gets sentences for the user."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_HELD = (errno.EWOULDBLOCK, errno.EACCES)
"""Error numbers of ``flock`` if another process has the lock; others mean that the file system has no locks."""
_ROOM = 1 << 18
"""Bytes that ``probe`` writes."""
_LONGEST = 160
"""Largest number of bytes of a part of a file's name: most file systems allow 255, with prefixes and suffixes."""
_SUMS = "SHA256SUMS"
"""The file of checksums in a folder, as ``sha256sum --check`` reads it."""


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary path)``, then move the file to ``path``, so that readers never see a part of it.

    The file's permissions are those of the umask, even if ``write`` sets others (files of safetensors are readable by
    their owner only).

    Raises:
        StorageError: if the disk is full or the folder cannot be written; the previous file is unchanged.
    """
    with _beside(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode & 0o777
        write(temporary)
        _settle(temporary, mode)
        temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file, atomically."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, atomically."""
    write_whole(path, lambda temporary: temporary.write_bytes(data))


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary folder)``, then move the folder to ``path``, which may not exist or must be empty.

    The checksums of its weights are written beside them, for ``verify`` and ``sha256sum --check``.

    Raises:
        StorageError: as ``write_whole``.
    """
    path = path.absolute()
    with _beside(path) as temporary:
        # left by a killed process with the same number
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        mode = temporary.stat().st_mode & 0o666
        write(temporary)
        weights = temporary.rglob("*.safetensors")
        names = sorted(file.relative_to(temporary).as_posix() for file in weights)
        if names:
            sums = "".join(f"{_sha256(temporary / name)}  {name}\n" for name in names)
            (temporary / _SUMS).write_text(sums, encoding="utf-8")
        for file in filter(Path.is_file, temporary.rglob("*")):
            _settle(file, mode)
        temporary.replace(path)


def verify(folder: Path) -> None:
    """Compare the weights in a folder of ``write_folder`` with their checksums, if it has any.

    Raises:
        UserError: if a file has changed, is missing or cannot be read.
    """
    sums = folder / _SUMS
    if not sums.exists():
        return
    for line in read_text(sums).splitlines():
        wanted, _, name = line.partition("  ")
        with reading(folder / name):
            found = _sha256(folder / name)
        if found != wanted:
            raise UserError(
                f"{folder / name} is damaged, or was changed: its checksum is not the one in {sums}. Copy it again, or "
                f"make it again; if you changed it yourself, remove {sums}."
            )


def append_line(path: Path, line: str) -> None:
    """Append a line to a log.

    Raises:
        StorageError: as ``write_whole``.
    """
    with storage_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read_text(path: Path) -> str:
    """The content of a text file.

    Raises:
        UserError: if it cannot be read, is missing or not UTF-8.
    """
    try:
        with reading(path):
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read: expected text in UTF-8, found {error}.") from error


def probe(path: Path) -> None:
    """Write some bytes beside ``path`` and remove them, to find out before long work if its results can be stored.

    Raises:
        StorageError: as ``write_whole``.
    """
    with _beside(path) as temporary:
        temporary.write_bytes(bytes(_ROOM))
        _settle(temporary)


def check_name(path: Path) -> None:
    """Make sure that the file system allows a file of this name, without creating one.

    Raises:
        StorageError: if the name is too long.
    """
    with storage_errors(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        _temporary(path).lstat()


def name_of(*parts: str) -> str:
    """Specs as a part of a file's name: readable and unique.

    ``:``, ``,`` and all other characters that do not belong in names become ``-``. If that is ambiguous (``1e+3``) or
    the name is too long, it ends with a digest of the specs.
    """
    whole = "--".join(parts)
    stem = "".join(c if c.isalnum() or c in "_=." else "-" for c in whole)
    without_exponents = re.sub(r"(?<=\d)e-(?=\d)", "", "".join(parts))
    if len(stem.encode()) <= _LONGEST and not re.search(r"[^\w=.:,]", without_exponents):
        return stem
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    short = stem.encode()[: _LONGEST - len(digest) - 2].decode(errors="ignore")
    return f"{short}--{digest}"


@contextmanager
def locked(folder: Path, tell: Tell | None = None) -> Generator[None]:
    """Lock a folder inside this context; the lock ends with the process at the latest.

    On file systems without locks there is none, and ``tell`` (by default standard error) gets a message.

    Raises:
        UserError: if another process has the lock.
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
                "there at the same time. Run only one at a time."
            )
        yield


@contextmanager
def storage_errors(path: Path) -> Generator[None]:
    """Inside this context an error of storage, of any library, becomes a ``StorageError`` with the remedy.

    Raises:
        StorageError: if ``path`` could not be written.
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
        f"Could not write {path}: {reason}. Finished results are kept; {remedy} and run the same command again to go "
        "on (train, finetune: with --resume)."
    )


def check_readable(path: Path) -> None:
    """Make sure that a file can be opened, so that later errors are about its content.

    Raises:
        UserError: if it is missing or cannot be read.
    """
    with reading(path):
        path.open("rb").close()


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Inside this context an error of the system becomes a ``UserError`` with the remedy.

    Raises:
        UserError: if ``path`` cannot be opened.
    """
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> UserError:
    """The error for a file that cannot be opened: missing, without permission and the like."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = "Check that it exists"
    if error.errno in _DENIED:
        remedy = "Ask its owner for permission to read it"
    return UserError(
        f"{path} cannot be read: {reason}. {remedy}, or copy it to where you can read it."
    )


def _code(error: BaseException | None) -> int | None:
    """The system's error number of ``error``, of its causes or in its text; None if there is none.

    Libraries in Rust or C++ (safetensors, duckdb) have their own errors with the number in the text.
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


@contextmanager
def _beside(path: Path) -> Generator[Path]:
    """A temporary path beside ``path`` for a file or a folder, which is removed in the end unless it was moved.

    Raises:
        StorageError: as ``storage_errors``.
    """
    temporary = _temporary(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """A hidden path beside ``path`` that no other process uses."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _settle(file: Path, mode: int | None = None) -> None:
    """Flush a file to the disk, and set its permissions."""
    with file.open("rb") as written:
        os.fsync(written.fileno())
        if mode is not None and os.fstat(written.fileno()).st_mode & 0o777 != mode:
            file.chmod(mode)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def say(text: str) -> None:
    """Print a message for the user on standard error."""
    print(text, file=sys.stderr)
