"""Result rows as arrays, for each method and split. Files are read one by one, so that few rows are held at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from bridge.errors import UserError
from bridge.evaluation import results
from bridge.evaluation.result_rows import Columns
from bridge.evaluation.sums import METRICS

SUMS = {metric: tuple(f"{metric}_{part}" for part in ("n", "sum", "sum_sq")) for metric in METRICS}
"""Columns of n, sum and sum of squares of each metric."""
_PLACE = ("seed", "curve_point", "task_id", "part")
COSTS = ("k_episodes", "k_transitions", "test_refused_steps", "test_grad_steps")
"""Columns that are the same in all rows of a seed and a curve point."""
_NUMBERS = (
    *_PLACE,
    *COSTS,
    *(name for names in SUMS.values() for name in names),
    "train_task_share",
)
_ABOUT = {
    "axis": "axis",
    "level": "level",
    "shift_distance": "value",
    "clue": "clue",
    "supervision": "supervision",
    "adapts": "adapts",
    "exact_reference": "exact",
    "train_env_steps": "train_env_steps",
    "train_flops": "train_flops",
}
"""Columns that are the same in all rows of a key, and their names in its description."""
_ALIKE = ("family_hash", "config_hash")
"""Columns that are the same in all rows of a family and track."""


Numbers = dict[str, np.ndarray]
"""Columns of numbers by name, with an entry a row; NaN if it is not known."""


class Key(NamedTuple):
    """Identifies a table of results."""

    family: str
    split: str
    method: str
    track: str = "O"

    @property
    def scored(self) -> str:
        """The return that scores are of: that of the trial on track O, that of the last scored episode on C and F."""
        return "trial_return" if self.track == "O" else "episode_return"


def read(source: Path | Iterable[Columns]) -> Iterator[tuple[Key, dict[str, Any], Numbers]]:
    """Each key with its description and its numbers, of a results folder or of rows at hand; keys are sorted.

    A description has the names in ``_ABOUT``, ``tasks`` (True if rows are of one task each) and ``seeds`` (their
    number).

    Raises:
        UserError: there are no rows, a file is damaged (the message names it), or rows were not played alike.
    """
    parts: defaultdict[Key, list[Columns]] = defaultdict(list)
    for columns in _of_folder(source) if isinstance(source, Path) else source:
        parts[Key(*(columns[name] for name in Key._fields))].append(columns)
    if not parts:
        where = source if isinstance(source, Path) else "The tables"
        raise UserError(f"{where}: no file holds a row. Compare again.")
    _refuse_mixed(parts)
    for key in sorted(parts):
        several = parts.pop(key)
        about = {ours: several[0][theirs] for theirs, ours in _ABOUT.items()}
        about["tasks"] = any(
            params is not None for columns in several for params in columns["task_params"]
        )
        numbers = {name: _joined(several, name) for name in _NUMBERS}
        yield key, about | {"seeds": len(np.unique(numbers["seed"]))}, numbers


def _joined(several: list[Columns], name: str) -> np.ndarray:
    """A column of numbers of several parts; NaN where it is missing."""
    values = (np.nan if columns[name] is None else columns[name] for columns in several)
    rows = (len(columns["part"]) for columns in several)
    return np.concatenate(list(map(np.broadcast_to, values, rows)))


def _of_folder(folder: Path) -> Iterator[Columns]:
    """The columns that a report needs, of the row files of a folder, by file and key.

    Raises:
        UserError: there is no file of rows, or one is damaged.
    """
    results.check_folder(folder)
    paths = results.files(folder)
    if not paths:
        raise UserError(
            f"{folder} holds no results (no rows/*.parquet). Run: metabridge compare --out {folder}"
        )
    for path in paths:
        names = (*Key._fields, *_ALIKE, *_ABOUT, "task_params", *_NUMBERS)
        for rows in _by_key(results.read_file(path, names)):
            columns: Columns = {name: rows[name][0].as_py() for name in names}
            columns["task_params"] = rows["task_params"].unique().to_pylist()
            for name in _NUMBERS:
                lacks = rows[name].null_count == len(rows)
                columns[name] = None if lacks else rows[name].to_numpy()
            yield columns


def _by_key(table: pa.Table) -> Iterator[pa.Table]:
    """The rows of each key, and of each way in which they were played, in their order."""
    code = np.zeros(len(table), np.int64)
    for name in (*Key._fields, *_ALIKE):
        column = table[name].combine_chunks()
        code = code * len(column.dictionary) + column.indices.to_numpy()
    found, number = np.unique(code, return_inverse=True)
    for i in range(len(found)):
        yield table if len(found) == 1 else table.filter(pa.array(number == i))


def _refuse_mixed(parts: dict[Key, list[Columns]]) -> None:
    """Refuse rows that cannot be compared.

    Raises:
        UserError: rows of a family and track have several values of a column of ``_ALIKE``.
    """
    first: dict[tuple[str, str], Columns] = {}
    for key, several in parts.items():
        for columns in several:
            before = first.setdefault((key.family, key.track), columns)
            if before["family_hash"] != columns["family_hash"]:
                difference = "of two versions of the family"
            elif before["config_hash"] != columns["config_hash"]:
                difference = "played with different trials or seeds"
            else:
                continue
            raise UserError(
                f"The rows of {key.family} were {difference}. Compare into another --out."
            )
