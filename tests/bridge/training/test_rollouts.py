"""Whole trials as training reads them: what was played, packed to its live steps, and what each step follows."""

import pytest
import torch

from bridge.noise import TrialNoise
from bridge.protocol import Step, Trial
from bridge.references.random import Random
from bridge.tasks import family as make_family
from bridge.training.rollouts import Batch, packed, play_trials, task_features
from tests.bridge.toys import Corridor

ROWS = 12


class Watched(Random):
    """Notes every step that it observes."""

    def __init__(self, family):
        super().__init__(family)
        self.seen: list[Step] = []

    def observe(self, memory, step, carry=None):
        self.seen.append(step)
        return super().observe(memory, step, carry)


def played(family, trial: Trial, *, means: bool = False) -> tuple[Batch, list[Step]]:
    agent = Watched(family)
    return play_trials(
        agent, family, trial, TrialNoise.of("trials", torch.arange(ROWS)), means=means
    ), agent.seen


@pytest.mark.parametrize("spec", ["gridnavi", "corridor"])
def test_a_batch_is_the_live_steps_that_the_agent_saw_in_their_order(spec):
    family = Corridor() if spec == "corridor" else make_family(spec)
    trial = family.trial("train")
    batch, steps = played(family, trial)
    lengths = set()
    for b in range(ROWS):
        mine = [step for step in steps if step.live is None or step.live[b]]
        lengths.add(len(mine))
        assert batch.live[:, b].tolist() == [t < len(mine) for t in range(len(batch.live))]
        for name in ("obs", "action", "reward"):
            assert torch.equal(
                getattr(batch, name)[: len(mine), b],
                torch.stack([getattr(s, name)[b] for s in mine]),
            )
        ends = [bool(step.terminated[b] | step.truncated[b]) for step in mine]
        assert batch.end[: len(mine), b].tolist() == ends
        assert sum(ends) == trial.episodes
        assert (batch.reward[len(mine) :, b] == 0).all()
    assert len(batch.live) == max(lengths)
    assert (len(lengths) > 3) == (spec == "corridor")


def test_rewards_are_judged_or_their_means_and_the_same_trials_are_played():
    family = make_family("bandit:k=3,n=6")
    by_reward, _ = played(family, family.trial("train"))
    by_mean, _ = played(family, family.trial("train"), means=True)
    assert torch.equal(by_reward.critic_reward, by_reward.reward)
    assert torch.equal(by_mean.reward, by_reward.reward)
    assert torch.equal(
        by_mean.critic_reward, by_mean.task.T.gather(0, by_mean.action)
    )  # a bandit's task is its arms' means


def test_padding_is_judged_as_nothing():
    """A corridor's mean reward is 0.1 or more at every step, but none is paid where a row stands still."""
    family = Corridor()

    class Generous(Corridor):
        def expected_reward(self, tasks, step):
            return torch.full_like(step.reward, 0.1)

    batch, _ = played(Generous(), family.trial("train"), means=True)
    assert not batch.live.all()
    torch.testing.assert_close(batch.critic_reward, 0.1 * batch.live.float(), atol=0, rtol=0)


def test_tasks_are_drawn_by_the_name_of_the_noise():
    family = make_family("bandit:k=3,n=6")
    noise = TrialNoise.of("trials", torch.arange(ROWS))
    tasks = family.sample("train", noise.env.at("task").bits() & ((1 << 62) - 1))
    batch, _ = played(family, family.trial("train"))
    assert torch.equal(batch.task, tasks.params["means"])
    others = TrialNoise.of("others", torch.arange(ROWS))
    other = play_trials(Random(family), family, family.trial("train"), others, means=False)
    assert not torch.equal(batch.task, other.task)


def test_a_trial_may_be_cut():
    batch, _ = played(make_family("gridnavi"), Trial(2, 15))
    assert batch.end.nonzero()[:, 0].unique().tolist() == [14, 29]
    assert len(batch.reward) == 30


def test_live_steps_move_to_the_front_in_their_order():
    """Three trials of four steps, of which the first one skips its second step and nobody needs the fourth."""
    live = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 0, 1], [1, 0, 0]]).bool()
    step = torch.arange(4.0)[:, None].expand(4, 3)
    batch = Batch(
        torch.stack([step, 10 * step], -1),
        step.long(),
        step,
        step,
        step,
        step,
        live,
        torch.ones(3, 1),
    )
    found = packed(batch)
    assert found.live.tolist() == [[True, True, True], [True, False, False], [True, False, False]]
    for part in found[1:5]:
        assert part.shape == (3, 3)
        assert [part[:, 0].tolist(), part[0, 1].item(), part[0, 2].item()] == [[0, 2, 3], 0, 2]
    assert found.obs[:, 0].tolist() == [[0, 0], [2, 20], [3, 30]]


def test_columns_are_some_of_the_trials():
    batch, _ = played(Corridor(), Trial(3, 6))
    rows = torch.tensor([5, 0, 7])
    some = batch.columns(rows)
    for part, whole in zip(some[:-1], batch[:-1], strict=True):
        assert torch.equal(part, whole[:, rows])
    assert torch.equal(some.task, batch.task[rows])


def test_a_task_is_its_parameters_by_name():
    family = make_family("tabular_mdp:n=2")
    tasks = family.sample("train", torch.arange(2))
    expected = torch.cat(
        [tasks.params[name].flatten(1) for name in ("reward_mean", "transition")], 1
    )
    assert torch.equal(task_features(tasks), expected)
