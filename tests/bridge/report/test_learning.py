"""Learning curves in a results folder, and which of them are those of undertrained methods."""

import json

import numpy as np
import pyarrow as pa
import pytest

from bridge import parquet
from bridge.errors import UserError
from bridge.report import learning
from bridge.report.learning import Curve, undertrained
from bridge.tasks.base import SUITE_VERSION
from bridge.training import train_log

NOISE = np.array([0.1, -0.2, 0.05, 0.15, -0.1, -0.05, 0.2, -0.15, 0.1, -0.1])
QUICK_MDP = [103.38, 107.38, 111.28, 118.46, 120.42, 125.9, 127.12, 128.97, 128.99, 126.9]
"""RL² on tabular_mdp for 500,000 steps, where random play earns 100.4 and greedy 154.5."""
ZOO_GRIDNAVI = (
    [13.05, 19.96, 21.74, 34.24, 35.12, 35.72, 36.1, 36.41, 36.47, 36.57],
    [15.67, 22.36, 31.41, 35.64, 36.46, 36.83, 37.04, 37.11, 37.14, 37.14],
    [14.79, 18.58, 25.15, 31.47, 35.99, 36.8, 37.08, 37.1, 37.15, 37.19],
)
"""RL² on gridnavi for five million steps, three seeds, where random play earns -4.6."""


def curve(returns, steps=1000) -> Curve:
    """A curve whose evaluations are evenly spaced."""
    returns = np.asarray(returns, float)
    return Curve(steps * np.arange(1, len(returns) + 1), returns, 100)


def run_folder(place, lines: list[dict]):
    """A folder with the log and the configuration of a training."""
    place.mkdir()
    about = {"suite_version": SUITE_VERSION, "schedule": {"evaluation_trials": 250}}
    (place / "config.json").write_text(json.dumps(about))
    (place / train_log.NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return place


def test_a_curve_is_read_as_its_run_was_evaluated(tmp_path):
    lines = [
        {"env_steps": n, "loss": 0.1} | ({"id_val_trial_return": n / 7} if n % 20 == 0 else {})
        for n in range(10, 61, 10)
    ]
    for seed in (0, 3):
        run = run_folder(tmp_path / f"run{seed}", lines)
        learning.write(tmp_path / "out", run, family="bandit:k=3,n=8", method="rl2", seed=seed)
    found = learning.read(tmp_path / "out")
    assert {
        family: {m: list(seeds) for m, seeds in of.items()} for family, of in found.items()
    } == {"bandit:k=3,n=8": {"rl2": [0, 3]}}
    env_steps, returns, trials = found["bandit:k=3,n=8"]["rl2"][3]
    assert env_steps.tolist() == [20, 40, 60]
    assert returns.tolist() == [20 / 7, 40 / 7, 60 / 7]
    assert trials == 250


def test_a_run_that_was_never_evaluated_has_no_curve(tmp_path):
    run = run_folder(tmp_path / "run", [{"env_steps": 10}])
    learning.write(tmp_path / "out", run, family="bandit", method="rl2", seed=0)
    assert learning.read(tmp_path / "out") == {}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("columns", [{"x": [1]}, {"family": [1], "method": ["a"]}])
def test_a_file_that_is_no_curve_is_named(tmp_path, columns):
    parquet.write(tmp_path / "learning" / "other.parquet", pa.table(columns))
    with pytest.raises(UserError, match=r"other\.parquet is no learning curve .*Remove it"):
        learning.read(tmp_path)


def test_a_steady_rise_is_undertrained_and_a_plateau_is_not():
    rise = np.arange(1, 11)
    assert undertrained([curve(rise + NOISE)], 0.0)
    assert not undertrained([curve(10 + NOISE)], 0.0)
    assert not undertrained([curve(np.minimum(rise, 4) + NOISE)], 0.0)
    assert not undertrained([curve(10 - rise + NOISE)], 0.0)


def test_more_than_a_tenth_of_what_was_learned_comes_in_the_second_half():
    """From 9 in the middle to 10 in the end: a tenth of what was learned if learning began at 0."""
    steps = curve([8, 8, 8, 9, 9, 9, 9, 10, 10, 10])
    assert undertrained([steps], 0.01)
    assert not undertrained([steps], -0.01)


def test_noise_does_not_make_a_method_undertrained():
    """A rise of 0.4 is two thirds of what was learned, and below two standard errors of noise of this size."""
    rise = 0.08 * np.arange(1, 11)
    assert undertrained([curve(rise + 0.5 * NOISE)], 0.2)
    assert not undertrained([curve(rise + 3 * NOISE)], 0.2)
    assert undertrained([curve(rise + 3 * np.roll(NOISE, k)) for k in range(10)], 0.2)


def test_curves_with_too_few_evaluations_are_not_judged():
    assert not undertrained([curve([1, 2, 3])], 0.0)
    assert undertrained([curve([1, 2, 3, 4])], 0.0)
    assert not undertrained([curve(range(1, 11)), curve([1, 2, 3])], 0.0)


def test_real_runs():
    """The quick RL² on tabular_mdp flattens as its learning rate falls, and had not finished."""
    assert undertrained([curve(QUICK_MDP)], 100.4)
    assert not undertrained([curve(returns) for returns in ZOO_GRIDNAVI], -4.6)
    assert not any(undertrained([curve(returns)], -4.6) for returns in ZOO_GRIDNAVI)
