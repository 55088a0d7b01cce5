"""Result rows with known scores: random play earns 0 and the oracle 1, so that a return is a score."""

import numpy as np
import scipy.stats

from bridge.evaluation import schema
from bridge.evaluation.result_rows import Columns
from bridge.evaluation.sums import METRICS

_WAVE = np.array([1.0, -1.0] * 5)
"""Ten replicates of mean 0, whose mean has the 95% interval ±_HALF."""
_HALF = float(scipy.stats.t.ppf(0.975, 9)) / 3
CONTEXT = {"adapts": "context", "supervision": "reward"}
GRADIENT = {"adapts": "gradient", "supervision": "reward"}
BOTH = {"adapts": "context, gradient", "supervision": "reward"}


def played(
    method: str, family: str, split: str, score: float, half: float = 0.0, **about: object
) -> Columns:
    """A method's rows on a split of a family with finitely many tasks: its mean return is ``score`` ±``half``.

    Whatever varies does so alike for all methods, as under common noise.
    """
    parts, trials = len(_WAVE), 20.0
    parsed = split.split("/")
    given: Columns = dict.fromkeys(schema.COLUMNS) | {
        "family": family,
        "family_hash": "f",
        "split": split,
        "axis": parsed[1] if len(parsed) == 3 else "",
        "level": int(parsed[2]) if len(parsed) == 3 else 0,
        "shift_distance": float(parsed[2]) if len(parsed) == 3 else 0.0,
        "method": method,
        "seed": np.zeros(parts, int),
        "clue": "nothing",
        "supervision": "none",
        "adapts": "",
        "exact_reference": "",
        "track": "O",
        "config_hash": "c",
        "task_params": np.array(["{}"] * parts),
        "task_id": np.zeros(parts, int),
        "part": np.arange(parts),
        "curve_point": np.zeros(parts, int),
        "k_episodes": np.ones(parts, int),
        "k_transitions": np.ones(parts, int),
        "train_env_steps": 1000,
    }
    returns = score + half / _HALF * _WAVE
    for metric in METRICS[:2]:
        given[f"{metric}_n"] = np.full(parts, trials)
        given[f"{metric}_sum"] = trials * returns
        given[f"{metric}_sum_sq"] = trials * (returns**2 + 1)
    return given | about


def bounds(family: str, split: str, track: str = "O") -> list[Columns]:
    """Rows of random play and of the oracle."""
    return [
        played("random", family, split, 0.0, exact_reference="exact", track=track),
        played("oracle", family, split, 1.0, exact_reference="exact", track=track, clue="task"),
    ]
