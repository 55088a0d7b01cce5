"""A folder of results: Parquet files of rows, a file a cell, from which every table, curve, claim and test derives.

Files are written whole or not at all, and a folder holds results of one suite version only. Reading verifies every byte
of a file against its checksum (``bridge/parquet.py``), and every column against ``schema.py``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from bridge import json_files, parquet
from bridge.errors import UserError
from bridge.evaluation.schema import COLUMNS, checked
from bridge.files import name_of, write_text
from bridge.tasks.base import SUITE_VERSION

_MARKER = "suite.json"


def cell_path(folder: Path, table: pa.Table) -> Path:
    """The path of the file for a table of rows; see ``rows_path``."""
    keys = ("family", "method", "seed", "track", "config_hash")
    first = (table[key][0].as_py() for key in keys)
    return rows_path(folder, *first, splits=table["split"].unique().to_pylist())


def rows_path(
    folder: Path,
    family: str,
    method: str,
    seed: int,
    track: str,
    config_hash: str,
    *,
    splits: Iterable[str],
) -> Path:
    """The path of a cell's file. Its name has family, method and seed, and a hash of these and all other arguments."""
    cell = {
        "family": family,
        "method": method,
        "seed": seed,
        "track": track,
        "config_hash": config_hash,
    }
    digest = hashlib.sha256(json.dumps([cell, sorted(splits)]).encode()).hexdigest()[:8]
    return folder / "rows" / f"{name_of(family, method)}--s{seed}--{digest}.parquet"


def open_folder(folder: Path) -> None:
    """Make a results folder, or check that an existing one holds results of this suite version.

    Raises:
        UserError: as ``check_folder``, or it is the folder of a run.
    """
    if (folder / _MARKER).exists():
        check_folder(folder)
    elif (folder / "config.json").exists():
        raise UserError(
            f"{folder} is a run's folder, and results need one of their own. Choose another --out."
        )
    else:
        write_text(folder / _MARKER, json.dumps({"suite_version": SUITE_VERSION}) + "\n")


def check_folder(folder: Path) -> None:
    """Check that a folder does not hold results of another suite version.

    Raises:
        UserError: it does, or its marker cannot be read.
    """
    marker = folder / _MARKER
    if not marker.exists():
        return
    remedy = "Choose another --out, or remove it."
    about = json_files.read_object(marker, remedy)
    json_files.check(about, marker, {"suite_version": int}, remedy)
    if (suite := about["suite_version"]) != SUITE_VERSION:
        raise UserError(
            f"{folder} holds results of suite version {suite}; this is suite version {SUITE_VERSION}, whose splits or "
            "counting rules differ. Choose another --out."
        )


def files(folder: Path) -> list[Path]:
    """The row files of a results folder, in order of name."""
    return sorted((folder / "rows").glob("*.parquet"))


Done = tuple[str, str, str, int, str, float, str, str]
"""A cell of which rows are there: family, its hash, method, seed, split, the value of its shift, track, config_hash."""


def done(folder: Path) -> set[Done]:
    """Cells that a folder holds rows of."""
    keys = [
        "family",
        "family_hash",
        "method",
        "seed",
        "split",
        "shift_distance",
        "track",
        "config_hash",
    ]
    cells: set[Done] = set()
    for path in files(folder):
        table = read_file(path, keys).group_by(keys).aggregate([])
        cells.update(zip(*(table[key].to_pylist() for key in keys), strict=True))
    return cells


def read_file(path: Path, columns: Sequence[str] = tuple(COLUMNS)) -> pa.Table:
    """Some columns of one row file, of the types that ``COLUMNS`` gives.

    Raises:
        UserError: the file is damaged, lacks a column, or holds a value that no evaluation gives; the message names the
            file, the column and the remedy.
    """
    remedy = "Remove it and run compare again: only its cell is redone."
    table = parquet.read(path, columns, remedy=remedy)
    if lacking := [name for name in columns if name not in table.column_names]:
        raise UserError(
            f"{path} lacks {', '.join(lacking)}: it was written by an earlier version. Remove {path.parent} and run "
            "compare again: methods are played again, and not trained again."
        )
    arrays = []
    for name in columns:
        try:
            arrays.append(checked(name, table))
        except (ValueError, pa.ArrowException) as error:
            raise UserError(f"{path}: column {name}: {error}. {remedy}") from None
    return pa.table(arrays, names=list(columns))
