"""Results are append-only Parquet rows; every table, curve, claim and test derives from them.

One row for each method x training seed x split x task (or block of tasks) x part of its trials x curve point, with n,
sum and sum of squares of each metric. Derived numbers (scores, intervals, differences) are computed when read, never
stored. Files are written whole or not at all, one a cell, and a folder holds results of one suite version only. What a
reader gets was verified: every byte of a file against its checksum (``bridge/parquet.py``), every column against
``COLUMNS``.

Shape letters: P curve points.
"""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float

from bridge import json_files, parquet
from bridge.errors import UserError
from bridge.evaluation.evaluator import (
    FIXED_PARTS,
    METRICS,
    Evaluation,
    Plan,
    block_of,
    listed,
    task_blocks,
    task_index,
    trial_parts,
)
from bridge.files import name_of, write_text
from bridge.play import clue_given
from bridge.protocol import Card
from bridge.tasks.base import SUITE_VERSION, TaskFamily
from bridge.tasks.overlap import are_training_tasks
from bridge.training.budget import Cost

_MARKER = "suite.json"
_SMALL = 16
"""Task parameters of up to this many numbers are written into rows."""
_TEXT, _INT, _REAL = pa.dictionary(pa.int32(), pa.string()), pa.int64(), pa.float64()

COLUMNS: dict[str, pa.DataType] = {
    # what was played
    "suite_version": _INT,
    "family": _TEXT,
    "family_hash": _TEXT,
    "split": _TEXT,
    "axis": _TEXT,
    "level": _INT,
    "shift_distance": _REAL,
    "delta_prior": _REAL,
    "task_id": _INT,
    "task_params": _TEXT,
    "train_task_share": _REAL,
    # who played
    "method": _TEXT,
    "method_version": _TEXT,
    "model_id": _TEXT,
    "seed": _INT,
    "eval_seed": _INT,
    "clue": _TEXT,
    "supervision": _TEXT,
    "decode_rule": _TEXT,
    "selection_rule": _TEXT,
    "tuning_configs": _INT,
    "exact_reference": _TEXT,
    # where on the curve
    "track": _TEXT,
    "trial": _INT,
    "part": _INT,
    "curve_point": _INT,
    "k_episodes": _INT,
    "k_transitions": _INT,
    # what came of it
    **{f"{metric}_{part}": _REAL for metric in METRICS for part in ("n", "sum", "sum_sq")},
    # what it cost
    "test_grad_steps": _REAL,
    "test_refused_steps": _REAL,
    "test_seconds": _REAL,
    "test_flops": _REAL,
    "tokens": _INT,
    "train_env_steps": _INT,
    "train_grad_steps": _INT,
    "train_seconds": _REAL,
    "train_flops": _REAL,
    "params_total": _INT,
    "params_trained": _INT,
    # diagnostics of later parts
    "first_action_ok": _REAL,
    "surprise": _REAL,
    "detector_scores": _TEXT,
    "parse_fail": _REAL,
    "prompt_format_id": _TEXT,
    # provenance
    "device": _TEXT,
    "config_hash": _TEXT,
    "git_sha": _TEXT,
}
"""Column -> type. ``trial`` (for rows of one trial) and ``delta_prior`` (a relation between rows) are null.

``train_task_share`` is the share of a row's trials whose task is a training task: 0 or 1 in a row of one task; null if
training tasks are drawn from a continuum.
"""

IDENTITY = (
    "family",
    "family_hash",
    "split",
    "axis",
    "level",
    "shift_distance",
    "task_id",
    "method",
    "seed",
    "clue",
    "supervision",
    "exact_reference",
    "track",
    "part",
    "curve_point",
    "k_episodes",
    "k_transitions",
    "config_hash",
)
"""The columns that have a value in every row."""

SCHEMA = pa.schema(list(COLUMNS.items()), metadata={"suite_version": str(SUITE_VERSION)})


Columns = dict[str, Any]
"""Columns by name: an array with an entry a row, or the value that all rows share; None if it is not known."""


def columns(
    evaluation: Evaluation,
    family: TaskFamily,
    card: Card,
    *,
    seed: int = 0,
    cost: Cost | None = None,
    flops: Float[np.ndarray, " P"] | None = None,
    device: str = "cpu",
) -> Columns:
    """The rows of one evaluation, by column.

    Args:
        evaluation: what was played.
        family: the family that was played.
        card: the agent's.
        seed: its training seed; 0 for references.
        cost: what its training has cost; None for references.
        flops: operations of a trial by each curve point; None if they were not counted.
        device: where it was played.
    """
    plan, cost = evaluation.plan, cost or Cost()
    split = family.split(plan.split)
    blocks, points = task_blocks(family, plan), evaluation.points
    shape = (blocks, trial_parts(family, plan), len(points))
    task, part, point = (axis.ravel() for axis in np.indices(shape))
    which = listed(family, plan)
    numbers = np.arange(blocks) if which is None else which.numpy()[:blocks]
    n, total, square = ({m: evaluation.total[m][row].ravel() for m in METRICS} for row in range(3))
    played = n["episode_return"] > 0
    episodes = np.array(points)[point]
    found: Columns = {
        "suite_version": SUITE_VERSION,
        "family": family.id,
        "family_hash": family.hash,
        "split": split.name,
        "axis": split.axis or "",
        "level": split.level,
        "shift_distance": split.value,
        "task_id": numbers[task],
        "task_params": _task_params(family, plan, numbers)[task],
        "train_task_share": _train_task_share(family, plan, shape),
        "method": card.method,
        "method_version": _package_version(),
        "seed": seed,
        "eval_seed": plan.eval_seed,
        "track": plan.track,
        "part": part,
        "curve_point": point,
        "k_episodes": episodes,
        "k_transitions": np.rint(evaluation.cost["transitions"][point]).astype(int),
        "test_seconds": evaluation.cost["clock"][point],
        "test_grad_steps": evaluation.cost["grad_steps"][point],
        "test_refused_steps": evaluation.cost["refused_steps"][point],
        "test_flops": None if flops is None else flops[point],
        "train_env_steps": cost.env_steps,
        "train_grad_steps": cost.grad_steps,
        "train_seconds": cost.seconds,
        "train_flops": cost.flops,
        "device": device,
        "config_hash": plan_hash(plan),
        "git_sha": _git_sha(),
    }
    found |= {key: value for key, value in asdict(card).items() if key in COLUMNS}
    found["clue"] = clue_given(card, family, split.name)
    for metric in METRICS:
        found |= {
            f"{metric}_n": n[metric],
            f"{metric}_sum": total[metric],
            f"{metric}_sum_sq": square[metric],
        }
    return {
        name: value[played] if isinstance(value, np.ndarray) else value
        for name, value in found.items()
    }


def rows(evaluation: Evaluation, family: TaskFamily, card: Card, **about: Any) -> pa.Table:
    """The rows of one evaluation as a table for a file; the arguments are those of ``columns``."""
    found = columns(evaluation, family, card, **about)
    arrays = []
    for name, kind in COLUMNS.items():
        value = found.get(name)
        if isinstance(value, np.ndarray):
            array = pa.array(value, kind.value_type if kind == _TEXT else kind, from_pandas=True)
            arrays.append(array.dictionary_encode() if kind == _TEXT else array)
        else:
            arrays.append(_constant(value, kind, len(found["part"])))
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _constant(value: Any, kind: pa.DataType, count: int) -> pa.Array:
    if value is None or value != value:  # what is not known
        return pa.nulls(count, kind)
    if kind == _TEXT:
        return pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(count, np.int32)), pa.array([value])
        )
    return pa.array(np.full(count, value), kind)


def _task_params(family: TaskFamily, plan: Plan, numbers: np.ndarray) -> np.ndarray:
    """The (small) hidden parameters of each task as JSON; None where a row stands for a block of many tasks."""
    if family.support(plan.split) is None and not plan.trials_per_task:
        return np.full(len(numbers), None)
    params = family.sample(plan.split, torch.from_numpy(numbers)).params
    small = {name: value.tolist() for name, value in params.items() if value[0].numel() <= _SMALL}
    return np.array(
        [json.dumps({name: value[i] for name, value in small.items()}) for i in range(len(numbers))]
    )


def _train_task_share(
    family: TaskFamily, plan: Plan, shape: tuple[int, int, int]
) -> np.ndarray | None:
    """For every block, part and point, raveled: the share of its trials whose task is a training task."""
    ids = torch.arange(plan.trials)
    known = are_training_tasks(family, plan.split, task_index(family, plan, ids))
    if known is None:
        return None
    row, cells = block_of(family, plan, ids).numpy(), shape[0] * shape[1]
    played = np.bincount(row, minlength=cells)
    return np.repeat(np.bincount(row, known, minlength=cells) / np.maximum(played, 1), shape[2])


def plan_hash(plan: Plan) -> str:
    """Eight hex digits of how trials were played (not of which split, nor of which of its tasks)."""
    content = {
        key: value for key, value in asdict(plan).items() if key not in ("split", "left_out")
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


@functools.cache
def _git_sha() -> str:
    """The commit of the checkout that this code runs from; empty where it is installed."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


@functools.cache
def _package_version() -> str:
    try:
        return version("metabridge")
    except PackageNotFoundError:
        return "0"


# --- files ------------------------------------------------------------------------------------------------------------


def steps(evaluation: Evaluation) -> pa.Table:
    """The transitions that were kept in detail, one a row; a real-valued action is a list of its sides."""
    return pa.table({name: _column(values) for name, values in evaluation.detail.items()})


def _column(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def cell_path(folder: Path, table: pa.Table) -> Path:
    """Where a cell's rows go: the name tells family, method and seed, and a hash tells the splits."""
    keys = ("family", "method", "seed", "track", "config_hash")
    return rows_path(
        folder, *(table[key][0].as_py() for key in keys), splits=table["split"].unique().to_pylist()
    )


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
    """``cell_path`` before there are rows."""
    first = {
        "family": family,
        "method": method,
        "seed": seed,
        "track": track,
        "config_hash": config_hash,
    }
    splits = sorted(splits)
    digest = hashlib.sha256(json.dumps([first, splits]).encode()).hexdigest()[:8]
    return folder / "rows" / f"{name_of(family, method)}--s{seed}--{digest}.parquet"


def open_folder(folder: Path) -> None:
    """Make a results folder, or make sure that an old one holds results of this suite version."""
    if (folder / _MARKER).exists():
        check_folder(folder)
    else:
        write_text(folder / _MARKER, json.dumps({"suite_version": SUITE_VERSION}) + "\n")


def check_folder(folder: Path) -> None:
    """Make sure that a folder does not hold results of another suite version.

    Raises:
        UserError: it does, or its marker cannot be read.
    """
    marker = folder / _MARKER
    if not marker.exists():
        return
    remedy = "Choose another --out, or remove it."
    found = json_files.read_object(marker, remedy).get("suite_version")
    if found is None:
        raise UserError(f"{marker} cannot be read: it does not say suite_version. {remedy}")
    if found != SUITE_VERSION:
        raise UserError(
            f"{folder} holds results of suite version {found}; this is suite version {SUITE_VERSION}, whose splits or "
            "counting rules differ. Choose another --out."
        )


def files(folder: Path) -> list[Path]:
    """The row files of a results folder, in order of name."""
    return sorted((folder / "rows").glob("*.parquet"))


def done(folder: Path) -> set[tuple[str, str, str, int, str, str, str]]:
    """What a folder already holds: (family, family_hash, method, seed, split, track, config_hash) of every file."""
    keys = ["family", "family_hash", "method", "seed", "split", "track", "config_hash"]
    found: set[tuple[str, str, str, int, str, str, str]] = set()
    for path in files(folder):
        table = read_file(path, keys).group_by(keys).aggregate([])
        found.update(zip(*(table[key].to_pylist() for key in keys), strict=True))
    return found


def read_file(path: Path, columns: Sequence[str] = tuple(COLUMNS)) -> pa.Table:
    """Return columns of one row file, of the types that ``COLUMNS`` says.

    Raises:
        UserError: the file is damaged, lacks a column, or holds in it what no evaluation gives; names the file, the
            column and the remedy.
    """
    remedy = "Remove it and run compare again: only its cell is redone."
    table = parquet.read(path, columns, remedy=remedy)
    found = []
    for name in columns:
        try:
            found.append(_checked(name, table))
        except (ValueError, pa.ArrowException) as error:
            raise UserError(f"{path}: column {name}: {error}. {remedy}") from None
    return pa.table(found, names=list(columns))


def _checked(name: str, table: pa.Table) -> pa.ChunkedArray:
    """Return a column as its type, if all its values are possible."""
    there, kind = table.column_names.count(name), COLUMNS[name]
    if there != 1:
        raise ValueError(f"expected once in the file, found {there} times")
    column = table[name]
    if column.type != kind:
        try:
            column = column.cast(kind)
        except pa.ArrowException:
            raise ValueError(
                f"expected {'text' if kind == _TEXT else kind}, found {column.type}"
            ) from None
    if name in IDENTITY and column.null_count:
        raise ValueError(f"expected a value in every row, found none in {column.null_count:,}")
    if kind == _REAL and not np.isfinite(column.drop_null().to_numpy()).all():
        raise ValueError("expected finite numbers, found NaN or infinity")
    if name == "part" and not np.isin(found := column.to_numpy(), np.arange(FIXED_PARTS)).all():
        raise ValueError(
            f"expected 0 to {FIXED_PARTS - 1}, found numbers from {found.min()} to {found.max()}"
        )
    return column
