"""The study of gaps: the probe of memories, and the whole of it."""

import csv

import numpy as np
import pytest
import torch

from bridge.errors import UserError
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from experiments.studies.attribution import probe, study
from experiments.studies.histories import Histories, Responses, Size
from experiments.studies.players import Player
from tests.experiments.commands import run

BANDIT = make_family("bandit:k=5,n=10")
PLAN = Plan(trials=400, track="C")


def remembers(state) -> Responses:
    """A method whose seeds' memories hold ``state`` after all shots, ``[S, N, D]``."""
    policy = np.full((len(state), 1, PLAN.trials, 1, 5), 0.2)
    nothing = np.zeros((len(state), 1, PLAN.trials))
    return Responses((10,), nothing, policy, nothing, nothing[0], state[:, None])


def means(split="id"):
    tasks = BANDIT.sample(split, torch.arange(PLAN.trials))
    return BANDIT.mean_rewards(tasks).double().numpy()


def of_random_play(split="id"):
    """The regret of random play, and three standard errors of it."""
    worth = means(split)
    away = worth.max(1)[:, None] - worth
    return away.mean(), 3 * away.std() / PLAN.trials**0.5


def test_a_memory_that_holds_the_task_leaves_no_regret():
    turn = np.random.default_rng(0).normal(size=(5, 8))
    holds = remembers((means() @ turn)[None])
    found = probe.regrets(BANDIT, PLAN, holds, PLAN, holds)
    assert found.shape == (1, 64)
    assert found.mean() < 0.01


def test_a_memory_without_the_task_leaves_the_regret_of_random_play():
    noise = remembers(np.random.default_rng(0).normal(size=(2, PLAN.trials, 3)))
    found = probe.regrets(BANDIT, PLAN, noise, PLAN, noise).mean(1)
    regret, spread = of_random_play()
    assert abs(found - regret).max() < spread


def test_a_probe_knows_what_states_mean_in_training_alone():
    """Under negated rewards a memory of what was earned is read as in training: the worst arm is taken for the best."""
    plan = Plan(trials=PLAN.trials, track="C", split="shift/reward_sign/4")
    home, shifted = remembers(means()[None]), remembers(means(plan.split)[None])
    right = probe.regrets(BANDIT, plan, shifted, PLAN, home).mean()
    assert right < 0.01  # it holds the rewards as they are
    wrong = probe.regrets(BANDIT, plan, remembers(-means(plan.split)[None]), PLAN, home).mean()
    assert wrong > sum(of_random_play(plan.split))


def test_blocks_are_those_of_the_rows():
    """Regrets that are the trial's number: each block of the rows has the mean of its own."""
    by_hand = probe._by_block(np.arange(400.0)[None], probe.Assignment.of(BANDIT, PLAN))
    assert by_hand.shape == (1, 64)
    assert (np.diff(by_hand[0]) > 0).all()
    assert by_hand[0, 0] == pytest.approx(3)  # trials 0 to 6


def test_a_method_without_states_and_episodes_of_many_steps_have_no_probe():
    some = remembers(np.zeros((1, PLAN.trials, 1)))
    without = some._replace(state=None)
    assert probe.regrets(BANDIT, PLAN, without, PLAN, without) is None
    assert probe.regrets(make_family("gridnavi"), PLAN, some, PLAN, some) is None


def histories(out, **given):
    about = {"family": "bandit", "axes": (), "behaviour": "random", "size": Size((0,), 9)}
    return Histories(**about | {"levels": (4,), "study": "attribution", "out": out} | given)


def test_methods_take_more_steps_of_their_own_kind(tmp_path):
    players = study.Study(histories(tmp_path)).players
    tuned = {plain.name: more and more.name for plain, more in players.items()}
    assert tuned["maml"] == "full_reward:inner_steps=5,run=maml"
    assert tuned["rl2"] is None


def test_splits_without_exact_learners_are_left_out(tmp_path):
    some = histories(tmp_path, axes=("prior", "changes"))
    assert study.Study(some).splits == ("id", "shift/prior/4")
    with pytest.raises(UserError, match="need exact learners"):
        study.Study(histories(tmp_path, family="darkroom", axes=("goal_shell",))).play()


@pytest.mark.slow
@pytest.mark.usefixtures("rendered")
def test_the_study_plays_and_its_parts_add_up(tmp_path, monkeypatch, capsys):
    few = [Player(name) for name in ("rl2", "maml", "mtrl")]
    monkeypatch.setattr(Histories, "methods", property(lambda self: few))
    out = tmp_path / "out"
    arguments = ("attribute", "--size", "smoke", "--axes", "prior", "--out", str(out))
    printed, _ = run(*arguments, capsys=capsys)
    assert "| method | gap | information | prior |" in printed
    with (out / "attribution.csv").open() as file:
        rows = list(csv.DictReader(file))
    for split in ("id", "shift/prior/4"):
        for method in ("rl2", "maml", "mtrl"):
            found = {
                r["part"]: float(r["mean"])
                for r in rows
                if (r["split"], r["method"]) == (split, method)
            }
            assert found.pop("gap") == pytest.approx(sum(found.values()), abs=1e-4)
            assert ("optimisation" in found) == (method == "maml")
    assert (out / "figures" / "attribution.svg").exists()
    assert run(*arguments, capsys=capsys)[0] == printed
