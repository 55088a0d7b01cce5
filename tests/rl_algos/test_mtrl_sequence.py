"""Known tasks one after another."""

import pytest
import torch

from bridge.errors import UserError
from bridge.noise import TrialNoise
from bridge.tasks import family as make_family
from rl_algos import per_task
from rl_algos.mtrl_sequence import Config, MtrlSequenceLearner

FAMILY = make_family("contextual_bandit:tasks=3,own=1,contexts=4")


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


def test_a_family_without_known_tasks_is_refused() -> None:
    with pytest.raises(UserError, match="--family contextual_bandit:own=1,tasks=N"):
        MtrlSequenceLearner(make_family("contextual_bandit:own=1"), Config(), seed=0)


def score(made: MtrlSequenceLearner) -> list[float]:
    """Mean reward a step on each task, of at most 0.9."""
    task = torch.arange(3)
    tasks, noise = FAMILY.sample("train", task), TrialNoise.of("test", task)
    episodes = per_task.roll_out(
        made.table.net, made.table.rows(task), FAMILY, tasks, noise, episodes=400
    )
    return episodes.reward.mean((1, 2)).tolist()


@pytest.mark.slow
def test_replay_keeps_what_plain_fine_tuning_forgets() -> None:
    """On the first task by 0.3 a step; two standard errors of a mean of 4,000 steps are 0.02."""
    plain, kept = learner(hidden=32), learner(hidden=32, keep="replay")
    for made in (plain, kept):
        while made.env_steps < 60_000:
            made.update(made.env_steps / 60_000)

    assert score(kept)[0] > score(plain)[0] + 0.3
