"""Result rows as arrays, for each method and split. Files are read one by one, so that few rows are held at a time."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from bridge.errors import UserError
from bridge.evaluation import result_rows, results
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
_ALIKE = ("family_hash", "config_hash")
"""Columns that are the same in all rows of a family and track."""


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
    def of(cls, column: Callable[[str, float | int], np.ndarray]) -> KeyRows:
        """The numbers of the columns that ``column(name, value for missing entries)`` returns."""

        def stacked(names: Sequence[str]) -> np.ndarray:
            return np.stack([column(name, 0) for name in names])

        place = stacked(_PLACE)
        cost_place, first = np.unique(place[:2], axis=1, return_index=True)
        sums = {
            metric: stacked(names) for metric, names in _SUMS.items() if stacked(names[:1]).any()
        }
        return cls(place, sums, cost_place, stacked(_COSTS)[:, first], column(_SHARE, np.nan))

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


class Part(NamedTuple):
    """Rows of one key from one file or evaluation."""

    key: Key
    about: dict[str, Any]
    """Their description: values by the names in ``_ABOUT``, and ``tasks``: True if rows are of one task each."""
    alike: tuple[set[str], ...]
    """All values of the columns ``_ALIKE``."""
    rows: KeyRows


def read(source: Path | Iterable[result_rows.Columns]) -> dict[Key, tuple[dict[str, Any], KeyRows]]:
    """The description and the numbers of each key, of a results folder or of rows at hand; keys are sorted.

    A description has the names in ``_ABOUT``, ``tasks`` (True if rows are of one task each) and ``seeds`` (their
    number).

    Raises:
        UserError: there are no rows, a file is damaged (the message names it), or rows were not played alike.
    """
    descriptions: dict[Key, dict[str, Any]] = {}
    numbers: defaultdict[Key, list[KeyRows]] = defaultdict(list)
    alike: defaultdict[tuple[str, str], tuple[set[str], ...]] = defaultdict(lambda: (set(), set()))
    for part in _of_folder(source) if isinstance(source, Path) else map(_of_columns, source):
        numbers[part.key].append(part.rows)
        descriptions.setdefault(part.key, part.about)["tasks"] |= part.about["tasks"]
        for seen, values in zip(alike[part.key.family, part.key.track], part.alike, strict=True):
            seen |= values
    if not descriptions:
        where = source if isinstance(source, Path) else "The tables"
        raise UserError(f"{where}: no file holds a row. Compare again.")
    _refuse_mixed(alike)
    by_key: dict[Key, tuple[dict[str, Any], KeyRows]] = {}
    for key, about in sorted(descriptions.items()):
        rows = KeyRows.joined(numbers.pop(key))
        by_key[key] = about | {"seeds": len(np.unique(rows.place[0]))}, rows
    return by_key


def _of_columns(columns: result_rows.Columns) -> Part:
    """The rows of one evaluation."""

    def column(name: str, absent: float | int) -> np.ndarray:
        value = columns.get(name)
        return np.broadcast_to(absent if value is None else value, len(columns["part"]))

    about = {ours: columns[theirs] for theirs, ours in _ABOUT.items()}
    about["tasks"] = any(params is not None for params in columns["task_params"])
    alike = tuple({columns[name]} for name in _ALIKE)
    return Part(Key(*(columns[name] for name in Key._fields)), about, alike, KeyRows.of(column))


def _of_folder(folder: Path) -> Iterator[Part]:
    """The rows of each key of each file."""
    for table in _tables(folder):
        for key, rows in _by_key(table):
            about = {ours: rows[theirs][0].as_py() for theirs, ours in _ABOUT.items()}
            about["tasks"] = rows["task_params"].null_count < len(rows)
            alike = tuple(set(rows[name].unique().to_pylist()) for name in _ALIKE)
            yield Part(key, about, alike, KeyRows.of(functools.partial(_column, rows)))


def _column(table: pa.Table, name: str, absent: float | int) -> np.ndarray:
    return table[name].fill_null(absent).to_numpy()


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


def _refuse_mixed(alike: dict[tuple[str, str], tuple[set[str], ...]]) -> None:
    """Refuse rows that cannot be compared.

    Raises:
        UserError: rows of a family and track have several values of a column of ``_ALIKE``.
    """
    for (family, _), (families, plans) in alike.items():
        if len(families) > 1:
            difference = "of two versions of the family"
        elif len(plans) > 1:
            difference = "played with different trials or seeds"
        else:
            continue
        raise UserError(f"The rows of {family} were {difference}. Compare into another --out.")
