"""From rows to arrays: those of each method on each split. Files are read one by one, so little is held at once."""

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
"""Columns that are the same in all rows of a key, and what they are called in what is known of it."""
_SHARE = "train_task_share"
_ALIKE = ("family_hash", "config_hash")
"""Columns that are the same in all rows of a family and track."""


class Key(NamedTuple):
    """What a table of results is about."""

    family: str
    split: str
    method: str
    track: str = "O"


class KeyRows(NamedTuple):
    """The numbers in the rows of a key."""

    place: np.ndarray
    """Seed, curve point, task and part of each row: four lines of integers."""
    sums: dict[str, np.ndarray]
    """n, sum and sum of squares of each metric that some trial has: three lines each."""
    cost_place: np.ndarray
    """Each pair of a seed and a curve point: two lines."""
    costs: np.ndarray
    """Of each pair: episodes, transitions, refused and taken gradient steps."""
    train_task_share: np.ndarray
    """Of each row, the share of its trials that play a training task; NaN if training tasks are a continuum."""

    @classmethod
    def of(cls, column: Callable[[str, float | int], np.ndarray]) -> KeyRows:
        """The numbers that ``column(name, value if there is none)`` returns."""

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
        """All of several; a metric that only some of them have is zero in the others."""

        def line(name: str) -> np.ndarray:
            return np.concatenate([getattr(rows, name) for rows in several], axis=-1)

        def sums(metric: str) -> np.ndarray:
            absent = (np.zeros((3, rows.place.shape[1])) for rows in several)
            return np.concatenate(
                [rows.sums.get(metric, zero) for rows, zero in zip(several, absent, strict=True)], 1
            )

        metrics = dict.fromkeys(metric for rows in several for metric in rows.sums)
        return cls(
            line("place"),
            {metric: sums(metric) for metric in metrics},
            line("cost_place"),
            line("costs"),
            line(_SHARE),
        )


class Part(NamedTuple):
    """Rows of one key, as they come from one place."""

    key: Key
    about: dict[str, Any]
    """What is known of them by name (``_ABOUT``), and whether each is of one task (``tasks``)."""
    alike: tuple[set[str], ...]
    """All values of the columns ``_ALIKE``."""
    rows: KeyRows


def read(source: Path | Iterable[result_rows.Columns]) -> dict[Key, tuple[dict[str, Any], KeyRows]]:
    """Return what is known of each key, and its numbers, of a results folder or of rows at hand; keys are sorted.

    Raises:
        UserError: there are none, a file is damaged (it is named), or rows were not played alike.
    """
    found: dict[Key, dict[str, Any]] = {}
    gathered: defaultdict[Key, list[KeyRows]] = defaultdict(list)
    alike: defaultdict[tuple[str, str], tuple[set[str], ...]] = defaultdict(lambda: (set(), set()))
    for part in _of_folder(source) if isinstance(source, Path) else map(_of_columns, source):
        gathered[part.key].append(part.rows)
        found.setdefault(part.key, part.about)["tasks"] |= part.about["tasks"]
        for seen, values in zip(alike[part.key.family, part.key.track], part.alike, strict=True):
            seen |= values
    if not found:
        raise UserError(
            f"{source if isinstance(source, Path) else 'The tables'}: no file holds a row. Compare again."
        )
    _refuse_mixed(alike)
    made: dict[Key, tuple[dict[str, Any], KeyRows]] = {}
    for key, about in sorted(found.items()):
        rows = KeyRows.joined(gathered.pop(key))
        made[key] = about | {"seeds": len(np.unique(rows.place[0]))}, rows
    return made


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
    """The columns that are read of the row files of a folder, a file at a time."""
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
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    for number, row in enumerate(first):
        rows = table if len(first) == 1 else table.filter(pa.array(which == number))
        yield Key(*(column[row].as_py() for column in columns)), rows


def _refuse_mixed(alike: dict[tuple[str, str], tuple[set[str], ...]]) -> None:
    """What is compared must have been played alike."""
    for (family, _), (families, plans) in alike.items():
        if len(families) > 1 or len(plans) > 1:
            what = (
                "of two versions of the family"
                if len(families) > 1
                else "played with different trials or seeds"
            )
            raise UserError(f"The rows of {family} were {what}. Compare into another --out.")
