"""Result rows of an evaluation: one for each task (or block of tasks), part of its trials and curve point.

A row holds n, sum and sum of squares of each metric. Derived numbers (scores, intervals, differences) are computed when
rows are read, and never stored.

Shape letters: P curve points.
"""

from __future__ import annotations

import functools
import json
import subprocess
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int

from bridge.evaluation.assignment import Assignment
from bridge.evaluation.schema import COLUMNS, SCHEMA, TEXT
from bridge.evaluation.sums import METRICS, Evaluation
from bridge.play import clue_given
from bridge.protocol import Card
from bridge.tasks.base import SUITE_VERSION, TaskFamily
from bridge.tasks.overlap import are_training_tasks
from bridge.training.budget import Cost

_SMALL = 16
"""Task parameters of up to this many numbers are written into rows."""

Columns = dict[str, Any]
"""Columns by name: an array with an entry a row, or the value that all rows share; None if it is not known."""


def columns(
    evaluation: Evaluation,
    family: TaskFamily,
    card: Card,
    *,
    seed: int = 0,
    size: str = "",
    cost: Cost | None = None,
    flops: Float[np.ndarray, " P"] | None = None,
) -> Columns:
    """The rows of one evaluation, by column.

    Args:
        evaluation: the evaluation.
        family: the family that was played.
        card: the agent's card.
        seed: the agent's training seed; 0 for references.
        size: the size of the comparison, with its version; empty: none.
        cost: the cost of its training; None for references.
        flops: operations of a trial by each curve point; None if they were not counted.
    """
    plan, cost = evaluation.plan, cost or Cost()
    split = family.split(plan.split)
    assignment = Assignment.of(family, plan)
    shape = (assignment.blocks, assignment.parts, len(evaluation.points))
    block, part, point = (axis.ravel() for axis in np.indices(shape))
    numbers = np.arange(assignment.blocks)
    if assignment.tasks is not None:
        numbers = assignment.tasks.numpy()[: assignment.blocks]
    card_columns = {name: value for name, value in asdict(card).items() if name in COLUMNS}
    values: Columns = card_columns | {
        "suite_version": SUITE_VERSION,
        "family": family.id,
        "family_hash": family.hash,
        "split": split.name,
        "axis": split.axis or "",
        "level": split.level,
        "shift_distance": split.value,
        "task_id": numbers[block],
        "task_params": _task_params(family, assignment, numbers)[block],
        "train_task_share": _train_task_share(family, assignment, shape),
        "method_version": _package_version(),
        "seed": seed,
        "eval_seed": plan.eval_seed,
        "clue": clue_given(card, family, split.name),
        "track": plan.track,
        "part": part,
        "curve_point": point,
        "k_episodes": np.array(evaluation.points)[point],
        "k_transitions": np.rint(evaluation.cost["transitions"][point]).astype(int),
        "test_seconds": evaluation.cost["clock"][point],
        "test_grad_steps": evaluation.cost["grad_steps"][point],
        "test_refused_steps": evaluation.cost["refused_steps"][point],
        "tokens": _whole(evaluation.cost.get("tokens"), point),
        "parse_fail": _at(evaluation.cost.get("parse_fail"), point),
        "test_flops": None if flops is None else flops[point],
        "train_env_steps": cost.env_steps,
        "train_grad_steps": cost.grad_steps,
        "train_seconds": cost.seconds,
        "train_flops": cost.flops,
        "size": size,
        "device": "cpu",
        "config_hash": plan.hash,
        "git_sha": _git_sha(),
    }
    for metric in METRICS:
        for name, sums in zip(("n", "sum", "sum_sq"), evaluation.total[metric], strict=True):
            values[f"{metric}_{name}"] = sums.ravel()
    played = values["episode_return_n"] > 0
    return {
        name: value[played] if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def table(evaluation: Evaluation, family: TaskFamily, card: Card, **about: Any) -> pa.Table:
    """The rows of one evaluation as a table for a file; the arguments are those of ``columns``."""
    values = columns(evaluation, family, card, **about)
    arrays = []
    for name, kind in COLUMNS.items():
        value = values.get(name)
        if not isinstance(value, np.ndarray):  # the same in every row
            value = np.full(len(values["part"]), value, object if kind == TEXT else None)
        arrays.append(pa.array(value, kind, from_pandas=True))
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def details(values_by_name: dict[str, np.ndarray]) -> pa.Table:
    """Kept steps or policies as a table. A column of two dimensions is of lists: the components of an action."""
    arrays = {}
    for name, values in values_by_name.items():
        array = pa.array(values.reshape(-1))
        if values.ndim > 1:
            array = pa.FixedSizeListArray.from_arrays(array, values.shape[1])
        arrays[name] = array
    return pa.table(arrays)


def _at(cost: np.ndarray | None, point: np.ndarray) -> np.ndarray | None:
    """A cost at the curve point of each row; None if the agent does not count it."""
    return None if cost is None else cost[point]


def _whole(cost: np.ndarray | None, point: np.ndarray) -> np.ndarray | None:
    """``_at``, rounded."""
    return None if cost is None else np.rint(cost[point]).astype(int)


def _task_params(
    family: TaskFamily, assignment: Assignment, numbers: Int[np.ndarray, " n"]
) -> np.ndarray:
    """The small hidden parameters of each task as JSON; None if a row stands for a block of many tasks."""
    if assignment.tasks is None and not assignment.plan.trials_per_task:
        return np.full(len(numbers), None)
    params = family.sample(assignment.plan.split, torch.from_numpy(numbers)).params
    small = {name: value.tolist() for name, value in params.items() if value[0].numel() <= _SMALL}
    texts = [
        json.dumps({name: value[i] for name, value in small.items()}) for i in range(len(numbers))
    ]
    return np.array(texts, object)


def _train_task_share(
    family: TaskFamily, assignment: Assignment, shape: tuple[int, int, int]
) -> np.ndarray | None:
    """The share of training tasks among the trials of every block, part and point, raveled."""
    ids = torch.arange(assignment.plan.trials)
    known = are_training_tasks(family, assignment.plan.split, assignment.task(ids))
    if known is None:
        return None
    cell, cells = assignment.cell(ids).numpy(), shape[0] * shape[1]
    played = np.bincount(cell, minlength=cells)
    return np.repeat(np.bincount(cell, known, minlength=cells) / np.maximum(played, 1), shape[2])


@functools.cache
def _git_sha() -> str:
    """The commit of the checkout that this code runs from; empty if it is installed."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return output.stdout.strip()


@functools.cache
def _package_version() -> str:
    try:
        return version("metabridge")
    except PackageNotFoundError:
        return "0"
