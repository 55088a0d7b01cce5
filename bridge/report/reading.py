"""Result rows as arrays, for each method and split. Files are read one by one, so that few rows are held at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from bridge.errors import UserError
from bridge.evaluation import results
from bridge.evaluation.sums import METRICS

_PLACE = ("seed", "curve_point", "task_id", "part")
_SUMS = {metric: tuple(f"{metric}_{part}" for part in ("n", "sum", "sum_sq")) for metric in METRICS}
_COSTS = ("k_episodes", "k_transitions", "test_refused_steps", "test_grad_steps")
"""Columns that are the same in all rows of a seed and a curve point."""
_ABOUT = {
    "axis": "axis",
    "level": "level",
    "shift_distance": "value",
    "clue": "clue",
    "supervision": "supervision",
    "exact_reference": "exact",
}
"""Columns that are the same in all rows of a key, and their names in its description."""
_SHARE = "train_task_share"
_ALIKE = {
    "family_hash": "of two versions of the family",
    "config_hash": "played with different trials or seeds",
}
"""Columns that are the same in all rows of a family and track, and what is wrong otherwise."""


class Key(NamedTuple):
    """Identifies a table of results."""

    family: str
    split: str
    method: str
    track: str = "O"


class KeyRows(NamedTuple):
    """The numbers in the rows of a key."""

    place: np.ndarray
    """Seed, curve point, task and part of each row, as integers, ``[4, rows]``."""
    sums: dict[str, np.ndarray]
    """n, sum and sum of squares of each metric that some trial has, ``[3, rows]``."""
    cost_place: np.ndarray
    """All pairs of a seed and a curve point, ``[2, pairs]``."""
    costs: np.ndarray
    """Episodes, transitions, refused and taken gradient steps of each pair, ``[4, pairs]``."""
    train_task_share: np.ndarray
    """Share of each row's trials that play a training task; NaN if training tasks are a continuum."""

    @classmethod
    def of(cls, table: pa.Table) -> KeyRows:
        """The numbers of a table of rows of one key."""

        def stacked(names: Sequence[str]) -> np.ndarray:
            return np.stack([table[name].fill_null(0).to_numpy() for name in names])

        place, share = stacked(_PLACE), table[_SHARE].fill_null(np.nan).to_numpy()
        cost_place, first = np.unique(place[:2], axis=1, return_index=True)
        sums = {metric: stacked(names) for metric, names in _SUMS.items()}
        sums = {metric: values for metric, values in sums.items() if values[0].any()}
        return cls(place, sums, cost_place, stacked(_COSTS)[:, first], share)

    @classmethod
    def joined(cls, several: Sequence[KeyRows]) -> KeyRows:
        """The rows of several; a metric that only some of them have is zero in the others."""

        def joined(name: str) -> np.ndarray:
            return np.concatenate([getattr(rows, name) for rows in several], axis=-1)

        def sums(metric: str) -> np.ndarray:
            zeros = [np.zeros((3, rows.place.shape[1])) for rows in several]
            pairs = zip(several, zeros, strict=True)
            return np.concatenate([rows.sums.get(metric, zero) for rows, zero in pairs], 1)

        metrics = dict.fromkeys(metric for rows in several for metric in rows.sums)
        return cls(
            joined("place"),
            {metric: sums(metric) for metric in metrics},
            joined("cost_place"),
            joined("costs"),
            joined(_SHARE),
        )


def read(source: Path | Iterable[pa.Table]) -> dict[Key, tuple[dict[str, Any], KeyRows]]:
    """The description and the numbers of each key, of a results folder or of tables of rows; keys are sorted.

    A description has the names in ``_ABOUT``, ``tasks`` (True if rows are of one task each) and ``seeds`` (their
    number).

    Raises:
        UserError: there are no rows, a file is damaged (the message names it), or rows were not played alike.
    """
    descriptions: dict[Key, dict[str, Any]] = {}
    numbers: defaultdict[Key, list[KeyRows]] = defaultdict(list)
    values: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for table in _tables(source) if isinstance(source, Path) else source:
        for key, rows in _by_key(table):
            numbers[key].append(KeyRows.of(rows))
            about = {name: rows[column][0].as_py() for column, name in _ABOUT.items()}
            about = descriptions.setdefault(key, about | {"tasks": False})
            about["tasks"] |= rows["task_params"].null_count < len(rows)
            for name in _ALIKE:
                values[key.family, key.track, name].update(rows[name].unique().to_pylist())
    if not descriptions:
        where = source if isinstance(source, Path) else "The tables"
        raise UserError(f"{where}: no file holds a row. Compare again.")
    for (family, _, name), different in values.items():
        if len(different) > 1:
            raise UserError(
                f"The rows of {family} were {_ALIKE[name]}. Compare into another --out."
            )
    by_key: dict[Key, tuple[dict[str, Any], KeyRows]] = {}
    for key, about in sorted(descriptions.items()):
        rows = KeyRows.joined(numbers.pop(key))
        by_key[key] = about | {"seeds": len(np.unique(rows.place[0]))}, rows
    return by_key


def _tables(folder: Path) -> Iterator[pa.Table]:
    """The columns that a report needs of the row files of a folder, a file at a time."""
    results.check_folder(folder)
    paths = results.files(folder)
    if not paths:
        raise UserError(
            f"{folder} holds no results (no rows/*.parquet). Run: metabridge compare --out {folder}"
        )
    sums = (name for names in _SUMS.values() for name in names)
    columns = (*Key._fields, *_PLACE, *_COSTS, *sums, *_ABOUT, *_ALIKE, "task_params", _SHARE)
    for path in paths:
        yield results.read_file(path, columns)


def _by_key(table: pa.Table) -> Iterator[tuple[Key, pa.Table]]:
    """The rows of each key, in their order."""
    columns = [table[name].combine_chunks() for name in Key._fields]
    code = np.zeros(len(table), np.int64)
    for column in columns:
        code = code * len(column.dictionary) + column.indices.to_numpy()
    _, first, number = np.unique(code, return_index=True, return_inverse=True)
    for i, row in enumerate(first):
        rows = table if len(first) == 1 else table.filter(pa.array(number == i))
        yield Key(*(column[row].as_py() for column in columns)), rows
