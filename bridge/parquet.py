"""Parquet files with a checksum of every byte.

Parquet's own checksums cover its pages, but neither their headers nor the footer, and some readers (DuckDB 2.0) ignore
them. So the footer also has the SHA-256 of the whole file, computed with zeros in place of the digest. The file is
ordinary Parquet: its pages have checksums, too, and other programs read it as usual.

A file that another program wrote has no such digest. It is read, and the checksums of its pages are verified if it has
any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from bridge.errors import UserError
from bridge.files import reading, write_whole

_MARK = b"metabridge-sha256:"
_BLANK = b"0" * 64


def write(path: Path, table: pa.Table) -> None:
    """Write a table to a file, atomically.

    Raises:
        StorageError: as ``write_whole``.
    """
    write_whole(path, lambda temporary: _write(temporary, table))


def read(path: Path, columns: Sequence[str] | None = None, *, remedy: str) -> pa.Table:
    """Verify a file and return a table of its columns.

    Args:
        path: the file.
        columns: the names of columns to return if the file has them; None: all.
        remedy: what to do about a damaged file, as a sentence.

    Raises:
        UserError: if the file is damaged or cannot be read; names the file.
    """
    with reading(path):
        data = path.read_bytes()
    try:
        at = _place(data)
        if at >= 0 and data[at : at + len(_BLANK)] != _digest(data):
            raise ValueError("its checksum is not that of its content")
        file = parquet.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        table = file.read(None if columns is None else list(columns), use_threads=False)
        table.validate(full=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).strip() or type(error).__name__
        reason = reason.splitlines()[0].rstrip(".")
        raise UserError(f"{path} cannot be read ({reason}). {remedy}") from None
    return table


def _write(path: Path, table: pa.Table) -> None:
    with parquet.ParquetWriter(
        path, table.schema, compression="zstd", write_page_checksum=True
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"checksum": (_MARK + _BLANK).decode()})
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(_place(data))
        file.write(_digest(data))


def _place(data: bytes) -> int:
    """The position of the digest; -1 if there is none. The footer's metadata come after all other text."""
    found = data.rfind(_MARK)
    return found if found < 0 else found + len(_MARK)


def _digest(data: bytes) -> bytes:
    at, view = _place(data), memoryview(data)
    digest = hashlib.sha256(view[:at])
    digest.update(_BLANK)
    digest.update(view[at + len(_BLANK) :])
    return digest.hexdigest().encode()
