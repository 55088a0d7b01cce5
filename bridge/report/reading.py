"""From row files to arrays: the rows of each method on each split, a file at a time, so that little is held at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from bridge import results
from bridge.errors import UserError
from bridge.evaluate import METRICS

_PLACE = ("seed", "curve_point", "task_id", "part")
_SUMS = {metric: tuple(f"{metric}_{part}" for part in ("n", "sum", "sum_sq")) for metric in METRICS}
_COSTS = ("k_episodes", "k_transitions", "test_refused_steps", "test_grad_steps")
"""Columns that are the same in all rows of a seed and a curve point."""
_ABOUT = {
    "axis": "axis", "level": "level", "shift_distance": "value", "clue": "clue", "supervision": "supervision",
    "exact_reference": "exact",
}  # fmt: skip
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
    def of(cls, table: pa.Table) -> KeyRows:
        """Those of a table."""

        def stacked(names: Sequence[str]) -> np.ndarray:
            return np.stack([table[name].fill_null(0).to_numpy() for name in names])

        place = stacked(_PLACE)
        cost_place, first = np.unique(place[:2], axis=1, return_index=True)
        sums = {metric: stacked(names) for metric, names in _SUMS.items() if stacked(names[:1]).any()}
        share = table[_SHARE].fill_null(np.nan).to_numpy()
        return cls(place, sums, cost_place, stacked(_COSTS)[:, first], share)

    @classmethod
    def joined(cls, several: Sequence[KeyRows]) -> KeyRows:
        """All of several; a metric that only some of them have is zero in the others."""

        def line(name: str) -> np.ndarray:
            return np.concatenate([getattr(rows, name) for rows in several], axis=-1)

        def sums(metric: str) -> np.ndarray:
            absent = (np.zeros((3, rows.place.shape[1])) for rows in several)
            return np.concatenate([rows.sums.get(metric, zero) for rows, zero in zip(several, absent, strict=True)], 1)

        metrics = dict.fromkeys(metric for rows in several for metric in rows.sums)
        return cls(
            line("place"), {metric: sums(metric) for metric in metrics}, line("cost_place"), line("costs"), line(_SHARE)
        )


def read(source: Path | Iterable[pa.Table]) -> dict[Key, tuple[dict[str, Any], KeyRows]]:
    """Return what is known of each key, and its numbers, of a results folder or of rows at hand; keys are sorted.

    Raises:
        UserError: there are none, a file is damaged (it is named), or rows were not played alike.
    """
    found: dict[Key, dict[str, Any]] = {}
    gathered: defaultdict[Key, list[KeyRows]] = defaultdict(list)
    alike: defaultdict[tuple[str, str], tuple[set[str], ...]] = defaultdict(lambda: (set(), set()))
    for table in _tables(source) if isinstance(source, Path) else source:
        for key, rows in _by_key(table):
            gathered[key].append(KeyRows.of(rows))
            about = {ours: rows[theirs][0].as_py() for theirs, ours in _ABOUT.items()}
            found.setdefault(key, about | {"tasks": False})["tasks"] |= rows["task_params"].null_count < len(rows)
            for seen, name in zip(alike[key.family, key.track], _ALIKE, strict=True):
                seen.update(rows[name].unique().to_pylist())
    if not found:
        raise UserError(f"{source if isinstance(source, Path) else 'The tables'}: no file holds a row. Compare again.")
    _refuse_mixed(alike)
    made: dict[Key, tuple[dict[str, Any], KeyRows]] = {}
    for key, about in sorted(found.items()):
        rows = KeyRows.joined(gathered.pop(key))
        made[key] = about | {"seeds": len(np.unique(rows.place[0]))}, rows
    return made


def _tables(folder: Path) -> Iterator[pa.Table]:
    """The columns that are read of the row files of a folder, a file at a time."""
    results.check_folder(folder)
    paths = results.files(folder)
    if not paths:
        raise UserError(f"{folder} holds no results (no rows/*.parquet). Run: metabridge compare --out {folder}")
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
            what = "of two versions of the family" if len(families) > 1 else "played with different trials or seeds"
            raise UserError(f"The rows of {family} were {what}. Compare into another --out.")
