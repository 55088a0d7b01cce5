"""Learning curves in a results folder, and the rule that calls a method undertrained.

``learning/`` has a file for each training run that was played: its evaluations on ``id_val``, copied from the run's
``train.jsonl``, so that a report needs no run folder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from bridge import files, parquet
from bridge.errors import UserError
from bridge.training import run_folder, train_log

_FOLDER = "learning"
_METRIC = "id_val_trial_return"
_REMEDY = "Remove it: the report then lacks this curve."
_SCHEMA = pa.schema(
    {
        "family": pa.string(),
        "method": pa.string(),
        "seed": pa.int64(),
        "trials": pa.int64(),
        "env_steps": pa.int64(),
        "trial_return": pa.float64(),
    }
)
_SHARE = 0.1
"""Least share of what was learned that the second half of a training brings to an undertrained method."""
_ERRORS = 2.0
"""Standard errors that its return rises by, at least."""
_FEWEST = 4
"""Evaluations that a curve is judged by, at least."""


class Curve(NamedTuple):
    """The learning curve of one training seed."""

    env_steps: Int[np.ndarray, " E"]
    returns: Float[np.ndarray, " E"]
    """Mean return of a trial on ``id_val``."""
    trials: int
    """Trials of each evaluation; 0 if unknown."""


Curves = dict[str, dict[int, Curve]]
"""The curves of a family, by method and training seed."""


def write(folder: Path, run: Path, *, family: str, method: str, seed: int) -> None:
    """Write the learning curve of a run into a results folder; nothing if the run was never evaluated.

    Args:
        folder: the results folder.
        run: the run folder.
        family: the family's id.
        method: the method's name in the rows.
        seed: the seed in the rows.
    """
    lines = [line for line in train_log.read(run)[0] if _METRIC in line]
    if not lines:
        return
    schedule = run_folder.read_config(run).get("schedule", {})
    row = {"family": family, "method": method, "seed": seed}
    row["trials"] = schedule.get("evaluation_trials", 0)
    rows = [row | {"env_steps": x["env_steps"], "trial_return": x[_METRIC]} for x in lines]
    name = f"{files.name_of(family, method)}--s{seed}.parquet"
    parquet.write(folder / _FOLDER / name, pa.Table.from_pylist(rows, schema=_SCHEMA))


def read(folder: Path) -> dict[str, Curves]:
    """The learning curves of a results folder, by family.

    Raises:
        UserError: a file is damaged, or lacks a column.
    """
    found: dict[str, Curves] = {}
    for path in sorted((folder / _FOLDER).glob("*.parquet")):
        table = parquet.read(path, remedy=_REMEDY)
        try:
            table = table.select(_SCHEMA.names).cast(_SCHEMA)
        except (KeyError, ValueError, pa.ArrowException) as error:
            raise UserError(f"{path} is no learning curve ({error}). {_REMEDY}") from None
        if not len(table):
            continue
        family, method, seed, trials = (table[name][0].as_py() for name in _SCHEMA.names[:4])
        curve = Curve(table["env_steps"].to_numpy(), table["trial_return"].to_numpy(), trials)
        found.setdefault(family, {}).setdefault(method, {})[seed] = curve
    return found


def undertrained(seeds: Sequence[Curve], floor: float) -> bool:
    """True if the second half of a training still brought a method much of what it has learned.

    Its return in the last quarter of training is then above that in the quarter around the middle by more than two
    standard errors, and by more than a tenth of what was learned (the return in the last quarter less ``floor``). Not
    the slope at the end decides: learning rates that fall with the budget flatten the end of every curve.

    False for a method that has not begun to learn, and if a seed has too few evaluations to tell.

    Args:
        seeds: the curves of the method's training seeds.
        floor: the return before learning: that of random play.
    """
    rise, variance, last = np.mean([_second_half(curve) for curve in seeds], 0)
    significant = rise > _ERRORS * math.sqrt(variance / len(seeds))
    return bool(significant and rise > _SHARE * (last - floor))


def _second_half(curve: Curve) -> tuple[float, float, float]:
    """The rise from the middle to the last quarter of training, its variance, and the return in the last quarter.

    The variance of an evaluation is a sixth of the mean square of second differences, which no trend enters. NaN if
    there are fewer than four evaluations, or none around the middle.
    """
    share, returns = curve.env_steps / curve.env_steps[-1], curve.returns
    middle, last = returns[abs(share - 0.5) < 0.125], returns[share > 0.75]
    if len(returns) < _FEWEST or not len(middle):
        return math.nan, math.nan, math.nan
    variance = float(np.mean(np.diff(returns, 2) ** 2)) / 6
    rise = float(last.mean() - middle.mean())
    return rise, variance * (1 / len(middle) + 1 / len(last)), float(last.mean())
