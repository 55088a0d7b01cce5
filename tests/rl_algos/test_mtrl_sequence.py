"""Known tasks one after another."""

import pytest
import torch

from bridge.errors import UserError
from bridge.noise import TrialNoise
from bridge.tasks import family as make_family
from bridge.training.workers import Workers
from rl_algos import mtrl, per_task
from rl_algos.mtrl import MtrlLearner
from rl_algos.mtrl_sequence import Config, MtrlSequenceLearner

FAMILY = make_family("contextual_bandit:tasks=3,own=1,contexts=4")
LONG = make_family("contextual_bandit:tasks=5,own=1")


def learner(**settings) -> MtrlSequenceLearner:
    return MtrlSequenceLearner(FAMILY, Config(**settings), seed=0)


def small(**settings) -> MtrlSequenceLearner:
    return learner(hidden=5, tasks_per_update=2, episodes_per_task=2, epochs=1, **settings)


@pytest.mark.parametrize(
    ("spent", "task"), [(0.0, 0), (0.33, 0), (0.34, 1), (0.66, 1), (0.67, 2), (1.0, 2)]
)
def test_each_task_has_its_share_of_the_budget(spent, task) -> None:
    assert small().update(spent)["task"] == task


def test_the_batch_that_ends_a_task_is_paid_for() -> None:
    made = small()
    made.update(0.0)
    before = made.env_steps
    made.update(0.5)

    assert made.env_steps - before == 2 * (2 * 2 * 10)


def test_the_learning_rate_starts_anew_with_each_task() -> None:
    made = small()
    rates = []
    for spent in (0.0, 0.3, 0.34, 0.99):
        made.update(spent)
        rates.append(made.optimizer.param_groups[0]["lr"] / made.config.lr)

    assert rates == pytest.approx([1.0, 0.1, 0.98, 0.03], abs=1e-6)


def test_tasks_come_in_the_order_of_only() -> None:
    made, played = small(only="2+0"), []
    play = made._play
    made._play = lambda: played.append(play()) or played[-1]
    for spent in (0.0, 0.49, 0.5, 1.0):
        made.update(spent)

    known = [set(task.tolist()) - {made.table.known} for task, _ in played]
    assert [sorted(tasks) for tasks in known if tasks] == [[2], [2], [2], [0], [0]]


@pytest.mark.parametrize("keep", ["nothing", "ewc", "replay", "distil"])
def test_the_first_tasks_alone_are_the_beginning_of_the_sequence(keep) -> None:
    whole, part = small(keep=keep), small(keep=keep, only="0+1")
    for spent in (0.0, 0.2, 0.4, 0.6):
        whole.update(spent)
        part.update(spent * 3 / 2)

    for mine, other in zip(whole.table.parameters(), part.table.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("keep", ["nothing", "ewc", "replay", "distil"])
def test_a_restart_goes_on_bitwise(keep) -> None:
    through, first = small(keep=keep), small(keep=keep)
    for made in (through, first):
        for spent in (0.0, 0.4):
            made.update(spent)
    again = small(keep=keep)
    again.load_state_dict(first.state_dict())
    for made in (through, again):
        for spent in (0.5, 0.8):
            made.update(spent)

    for mine, other in zip(through.table.parameters(), again.table.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_without_known_tasks_it_is_multi_task_rl() -> None:
    family, settings = make_family("contextual_bandit:own=1"), {"hidden": 5, "epochs": 1}
    one = MtrlSequenceLearner(family, Config(**settings), seed=0)
    other = MtrlLearner(family, mtrl.Config(**settings), seed=0)
    for spent in (0.0, 0.5):
        assert one.update(spent) == {**other.update(spent), "task": 0.0}


def test_several_processes_are_refused() -> None:
    two = Workers()
    two.count = 2
    with pytest.raises(UserError, match="--processes 1"):
        MtrlSequenceLearner(FAMILY, Config(), seed=0, workers=two)


@pytest.mark.slow
def test_replay_keeps_the_first_task_which_plain_fine_tuning_forgets() -> None:
    """By 0.1 a step of at most 0.9; two standard errors of a mean of 4,000 steps are 0.02."""
    earned = {}
    for keep in ("nothing", "replay"):
        made = MtrlSequenceLearner(LONG, Config(keep=keep), seed=0)
        while made.env_steps < 100_000:
            made.update(made.env_steps / 100_000)
        first = torch.zeros(1, dtype=torch.int64)
        tasks, noise = LONG.sample("train", first), TrialNoise.of("test", first)
        rows = made.table.rows(first)
        episodes = per_task.roll_out(made.table.net, rows, LONG, tasks, noise, episodes=400)
        earned[keep] = episodes.reward.mean().item()

    assert earned["replay"] > earned["nothing"] + 0.1


@pytest.mark.parametrize(("hidden_ids", "clue"), [(0.1, "id"), (1.0, "nothing")])
def test_ids_that_are_always_hidden_are_not_given_at_test(hidden_ids, clue) -> None:
    card = small(hidden_ids=hidden_ids).agent().card
    assert (card.method, card.clue) == ("mtrl_sequence", clue)


def test_there_is_nothing_to_combine_of_one_task_at_a_time() -> None:
    with pytest.raises(UserError, match="on 1 known task at once"):
        small(combine="pcgrad")
