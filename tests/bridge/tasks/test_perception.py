"""Shifts of the senses: an agent observes other things, and the world and its scores stay as they are."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import play_episode, record_context
from bridge.protocol import Card, Clues, Step, Trial
from bridge.references.random import Random
from bridge.references.registry import DoesNotPlayError, reference
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.tasks.base import Box, Discrete
from bridge.tasks.perception import Senses

B = 256
WALKS = ["gridnavi", "darkroom:variant=ad,episodes=2", "point_nav:episodes=2", "sparse_point"]


class Watcher(Random):
    """A random agent that keeps each observation at which it acts and each step that it is shown."""

    def __init__(self, family: Any, split: str) -> None:
        super().__init__(family, split)
        self.at: list[Tensor] = []
        self.steps: list[Step] = []

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Any:
        self.at.append(obs)
        return super().act(memory, torch.zeros_like(obs), rng, explore=explore)

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        self.steps.append(step)
        return memory


def played(spec: str, split: str, card: Card | None = None):
    """What one episode of B trials shows a random agent, the steps as they are, and their totals."""
    family = make_family(spec)
    agent = Watcher(family, split)
    agent.card = card or agent.card
    tasks, noise = family.sample(split, torch.arange(B)), TrialNoise.of("senses", torch.arange(B))
    steps: list[Step] = []
    _, totals = play_episode(
        agent,
        family,
        tasks,
        agent.start(Clues(task=tasks), family.trial(split), noise.agent),
        noise,
        episode=0,
        horizon=family.trial(split).horizon,
        visit=lambda _t, step, _decision: steps.append(step),
    )
    return agent, steps, totals


@pytest.mark.parametrize("spec", WALKS)
@pytest.mark.parametrize("axis", ["obs_noise", "obs_permutation", "reward_delay"])
def test_the_world_and_its_scores_stay_as_they_are(spec, axis):
    *_, plain = played(spec, "id")
    for level in (1, 4):
        *_, shifted = played(spec, f"shift/{axis}/{level}")
        torch.testing.assert_close(shifted.reward, plain.reward)
        torch.testing.assert_close(shifted.expected, plain.expected)
        assert torch.equal(shifted.success, plain.success)


@pytest.mark.parametrize("spec", WALKS)
@pytest.mark.parametrize("axis", ["obs_noise", "obs_permutation", "reward_delay"])
def test_steps_follow_one_another(spec, axis):
    agent, _, _ = played(spec, f"shift/{axis}/3")
    for at, step in zip(agent.at, agent.steps, strict=True):
        assert torch.equal(at, step.obs)
    for before, after in zip(agent.steps, agent.steps[1:], strict=False):
        assert torch.equal(before.next_obs, after.obs)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_coordinates_are_exchanged_in_a_share_of_the_tasks(level):
    split = f"shift/obs_permutation/{level}"
    agent, steps, _ = played("gridnavi", split)
    share = make_family("gridnavi").axes["obs_permutation"].values[level]
    seen, true = (torch.stack([step.next_obs for step in each], 1) for each in (agent.steps, steps))
    same, exchanged = ((seen == shown).flatten(1).all(1) for shown in (true, true.flip(-1)))
    assert (same | exchanged).all()
    assert abs(exchanged.float().mean() - share) < 4 * (0.25 / B) ** 0.5


def test_noise_has_its_standard_deviation_and_grows_with_the_level():
    off = []
    for level in (2, 3):  # 0.1 and 0.2, and walls at 2 that 100 steps from the middle seldom reach
        agent, steps, _ = played("point_nav:episodes=2", f"shift/obs_noise/{level}")
        gaps = torch.stack(
            [s.next_obs - t.next_obs for s, t in zip(agent.steps, steps, strict=True)]
        )
        off.append(gaps[:20])
    assert off[0].mean().abs() < 4 * 0.1 / off[0].numel() ** 0.5
    assert off[0].std() == pytest.approx(0.1, rel=0.05)
    torch.testing.assert_close(off[1], 2 * off[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("level", [1, 4])
def test_noise_stays_within_the_space(level):
    agent, _, _ = played("gridnavi", f"shift/obs_noise/{level}")
    seen = torch.stack(agent.at)
    assert seen.min() == 0
    assert seen.max() == 4


def test_what_is_owed_is_paid_every_d_steps_and_at_the_end():
    agent, steps, _ = played("gridnavi", "shift/reward_delay/2")  # 4 of 15 steps
    paid, earned = (torch.stack([step.reward for step in each], 1) for each in (agent.steps, steps))
    expected = torch.zeros_like(earned)
    for first in range(0, 15, 4):
        last = min(first + 3, 14)
        expected[:, last] = earned[:, first : last + 1].sum(1)
    torch.testing.assert_close(paid, expected)


def test_a_row_that_ended_is_paid_once_and_observes_nothing_new():
    noise = Rows.of("senses", torch.arange(3))
    senses = Senses(Discrete(5), {"senses/delay": torch.full((3,), 4)}, noise)
    senses.first(torch.tensor([2, 2, 2]))
    live = torch.tensor([[True, True, True], [True, False, True], [True, False, True]])
    end = torch.tensor([[False, True, False], [False, False, False], [False, False, True]])
    rewards = []
    for t in range(3):
        reward = torch.where(live[t], 1.0, 0.0)
        never = torch.zeros(3, dtype=torch.bool)
        obs = torch.tensor([t, t, t])
        step = Step(obs, obs, reward, torch.where(live[t], obs + 10, 99), end[t], never, live[t])
        seen = senses.step(t, step)
        rewards.append(seen.reward.tolist())
        if t:
            assert seen.next_obs[1] == 10
    assert rewards == [[0, 1, 0], [0, 0, 0], [0, 0, 3]]


def test_an_agent_that_is_given_the_task_observes_the_world_as_it_is():
    card = Card(method="informed", clue="task", reference=True)
    agent, steps, _ = played("gridnavi", "shift/obs_noise/4", card)
    assert agent.steps == steps
    family = make_family("gridnavi")
    for axis in ("obs_noise", "obs_permutation", "reward_delay"):
        split = f"shift/{axis}/4"
        found = evaluate(reference("oracle", family, split), family, Plan(split=split, trials=64))
        assert found.mean("regret") == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("axis", ["obs_noise", "obs_permutation", "reward_delay"])
def test_a_context_shows_what_its_agent_observed(axis):
    """On track C, steps that are shown are those that an agent without a clue observed while it played them."""
    family, split = make_family("gridnavi"), f"shift/{axis}/3"
    actor, viewer = Watcher(family, split), Watcher(family, split)
    evaluate(viewer, family, Plan(split=split, trials=B, track="C", shots=2), behaviour=actor)
    acted, seen = (  # others are those by which memory is measured
        [step for step in each.steps if len(step.obs) == B] for each in (actor, viewer)
    )
    shown = seen[15:30] + seen[45:60]  # between scored episodes
    for ours, theirs in zip(shown, acted, strict=True):
        assert torch.equal(ours.next_obs, theirs.next_obs)
        assert torch.equal(ours.reward, theirs.reward)


def test_a_context_is_kept_as_it_happened():
    family, split, trial = make_family("gridnavi"), "shift/obs_permutation/4", Trial(2, 15)
    tasks, noise = family.sample(split, torch.arange(B)), TrialNoise.of("senses", torch.arange(B))
    actor = Watcher(family, split)
    context = record_context(actor, family, split, tasks, noise, trial)
    for true, seen in zip([s for steps in context for s in steps], actor.steps, strict=True):
        assert torch.equal(true.next_obs.flip(-1), seen.next_obs)


@pytest.mark.parametrize("axis", ["changes", "obs_noise", "obs_permutation", "reward_delay"])
def test_no_reference_claims_to_know_such_a_split(axis):
    family = make_family("gridnavi")
    with pytest.raises(DoesNotPlayError, match="Take bayes_train"):
        reference("bayes", family, f"shift/{axis}/1")
    reference("bayes", family, f"shift/{axis}/0")
    reference("bayes_train", family, f"shift/{axis}/1")


def test_exchanged_coordinates_are_scaled_to_the_bounds_of_their_new_places():
    space = Box((-1.0, 0.0, -10.0), (1.0, 4.0, 10.0))
    order = torch.tensor([[2, 0, 1], [0, 1, 2]])
    senses = Senses(space, {"senses/order": order}, Rows.of(0, torch.arange(2)))
    seen = senses.first(torch.tensor([[0.5, 1.0, -10.0], [0.5, 1.0, -10.0]]))
    assert seen.tolist() == [[-1.0, 3.0, -5.0], [0.5, 1.0, -10.0]]
