"""Cells: what they play, and the learning curve of that beside its rows."""

from dataclasses import replace

import pytest

from bridge.evaluation import results
from bridge.evaluation.plan import Plan
from bridge.references.registry import DoesNotPlayError
from bridge.report import learning
from bridge.tasks import family
from bridge.training import train_log
from bridge.training.budget import Budget
from experiments import pool, runs
from experiments.cells import Cell, missing
from tests.experiments.conftest import TRAINED, TRAINED_ON


def played(spec: str, method: str, out, **about) -> None:
    """Play a cell of twenty trials on id."""
    plans = (Plan(trials=20),)
    Cell(family(TRAINED_ON), spec, method, 4, plans, out, **about).run(lambda _steps: None)


def evaluations(run) -> list[tuple]:
    """Environment steps and returns of the evaluations in a run's log."""
    name = "id_val_trial_return"
    return [(line["env_steps"], line[name]) for line in train_log.read(run)[0] if name in line]


def test_a_trained_run_leaves_its_learning_curve_with_gradient_steps_at_test_or_without(
    trained, tmp_path
):
    played(str(trained["rl2"]), "rl2", tmp_path)
    played(f"full_reward:run={trained['rl2']},inner_steps=1", "full_reward_rl2", tmp_path)
    curves = learning.read(tmp_path)[TRAINED_ON]
    assert curves.keys() == {"rl2", "full_reward_rl2"}
    for of_seed in curves.values():
        env_steps, returns, trials = of_seed[4]
        assert (
            list(zip(env_steps.tolist(), returns.tolist(), strict=True))
            == evaluations(trained["rl2"])
            != []
        )
        assert trials == 20
    assert len(results.files(tmp_path)) == 2


def test_what_a_cell_trains_leaves_its_learning_curve(tmp_path):
    run = runs.Run(
        method=TRAINED["rl2"], family=TRAINED_ON, seed=4, budget=Budget(800.0), out=tmp_path / "run"
    )
    played("rl2", "rl2", tmp_path, training=run)
    assert learning.read(tmp_path)[TRAINED_ON]["rl2"][4].env_steps.tolist() == [400, 800]


def test_the_zoo_has_curves_and_references_have_none(tmp_path):
    bandit = family("bandit:k=5,n=10")
    for spec in ("zoo:rl2/bandit", "ucb1"):
        cell = Cell(bandit, spec, spec, 0, (Plan(trials=20),), tmp_path)
        cell.run(lambda _steps: None)
    curves = learning.read(tmp_path)[bandit.id]
    assert curves.keys() == {"zoo:rl2/bandit"}
    assert len(curves["zoo:rl2/bandit"][0].returns) == 10


def test_who_shows_a_context_matters_on_track_c_alone(tmp_path):
    """``ucb1`` does not play gridnavi, as ``oracle`` does not play most families of a user's own."""
    plans = (Plan(trials=4), Plan(trials=4, track="F", shots=1))
    cell = Cell(family("gridnavi"), "random", "random", 0, plans, tmp_path, behaviour="ucb1")
    cell.run(lambda _steps: None)
    assert len(results.files(tmp_path)) == 2
    with pytest.raises(DoesNotPlayError):
        replace(cell, plans=(Plan(trials=4, track="C", shots=1),)).run(lambda _steps: None)


def test_rows_are_played_again_if_the_value_of_their_shift_moves(tmp_path, monkeypatch):
    bandit, plans = family("bandit:k=3,n=4"), (Plan(split="shift/gap/2", trials=20),)
    cell = Cell(bandit, "random", "random", 0, plans, tmp_path)
    cell.run(lambda _steps: None)
    assert missing([cell], tmp_path) == []
    axes = dict(bandit.axes)
    axes["gap"] = replace(axes["gap"], values=(1.0, 0.8, 0.5, 0.4, 0.2))
    monkeypatch.setitem(bandit.__dict__, "axes", axes)
    assert missing([cell], tmp_path) == [cell]


@pytest.mark.parametrize(
    ("spec", "slower"), [("ucb1:c=0.1", 1), ("zoo:rl2/bandit", 50), ("prompted_smollm2", 100_000)]
)
def test_steps_of_a_network_take_longer_than_those_of_a_rule(spec, slower, tmp_path):
    """By how much decides if cells are worth a process for each core."""
    cell = Cell(family("bandit:k=5,n=10"), spec, spec, 0, (Plan(trials=20),), tmp_path)
    assert pool._work_of(cell) == 200 * slower
