"""One episode, played: rows that end early rest, and a broken agent or family is named with its row and step."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bridge.errors import ContractError
from bridge.evaluation.evaluator import Plan, evaluate
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Clues, Decision, Step, Trial
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import Outcome, Tasks
from tests.bridge.books import Brief, Clerk, Echo, H, K, earned, wage


def test_a_row_that_ended_earns_nothing_more_and_its_memory_rests() -> None:
    family, agent = Brief(size=4), Clerk(wage)
    seen: list[Step] = []
    tasks, noise = family.sample("id", torch.arange(4)), TrialNoise.of(0, torch.arange(4))
    memory = agent.start(Clues(task=tasks), Trial(1, H), noise.agent)
    memory, totals = play_episode(
        agent,
        family,
        tasks,
        memory,
        noise,
        episode=0,
        horizon=H,
        visit=lambda t, step: seen.append(step),
    )
    assert totals.reward.tolist() == [earned(task, 0, task + 1) for task in range(4)]
    assert torch.equal(totals.expected, totals.reward)
    assert totals.success is not None
    assert totals.success.tolist() == [
        False,
        False,
        True,
        False,
    ]  # task 0 acts 100 only after its end
    assert memory["steps"].tolist() == [1, 2, 3, 4]
    for t, step in enumerate(seen):
        assert step.live is not None
        assert step.live.tolist() == [task >= t for task in range(4)]
        assert step.terminated.tolist() == [task == t for task in range(4)]
        dead = ~step.live
        assert not bool((step.reward[dead] != 0).any() | step.truncated.any())
        assert torch.equal(step.next_obs[dead], step.obs[dead])


def test_an_episode_stops_once_every_row_has_ended() -> None:
    agent = Clerk(wage)
    evaluate(agent, Brief(size=2), Plan(trials=2))
    assert len(agent.calls("act")) == K * 2


# --- the boundary -----------------------------------------------------------------------------------------------------


AnyEcho: Any = Echo  # what breaks the contract does not fit its types


def broken_wage(value: float, shape: tuple[int, ...] | None = None) -> Clerk:
    """A clerk who fails in row 2 at episode 1, step 3."""

    def price(number: Tensor, episode: int, step: int) -> Tensor:
        if (episode, step) != (1, 3):
            return number
        return torch.where(number == 2, value, number.float())

    return Clerk(price)


class Misshapen(Clerk):
    def act(self, *args: Any, **kwargs: Any) -> Decision:
        decision = super().act(*args, **kwargs)
        return Decision(decision.action[:, 0])


class TooMany(Random):
    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        action = super().act(memory, obs, rng, explore=explore).action
        return Decision(torch.where(torch.arange(len(obs)) == 2, 3, action))


class HalfArms(Random):
    def act(self, *args: Any, **kwargs: Any) -> Decision:
        return Decision(super().act(*args, **kwargs).action.float())


class Unpaid(AnyEcho):
    def step(self, *args: Any) -> Outcome:
        outcome = super().step(*args)
        return outcome._replace(reward=outcome.reward[:1])


class NotANumber(AnyEcho):
    def step(self, tasks: Tasks, state: Tensor, *args: Any) -> Outcome:
        outcome = super().step(tasks, state, *args)
        lost = (tasks.params["number"] == 2) & (state == 3)
        return outcome._replace(reward=torch.where(lost, torch.inf, outcome.reward))


@pytest.mark.parametrize(
    ("agent", "family", "message"),
    [
        (
            broken_wage(float("nan")),
            Echo(),
            "act returned a NaN or infinite action in row 2 at episode 1, step 3",
        ),
        (
            Misshapen(wage),
            Echo(),
            r"actions of shape \(4,\) at episode 0, step 0; echo expects \(4, 1\)",
        ),
        (
            TooMany(Bandit(k=3)),
            Bandit(k=3),
            "action 3 in row 2 at episode 0, step 0; bandit:k=3,n=10 has actions 0..2",
        ),
        (
            HalfArms(Bandit(k=3)),
            Bandit(k=3),
            r"torch.float32 actions; bandit:k=3,n=10 expects int64 in 0..2",
        ),
        (Clerk(wage), Unpaid(), r"rewards of shape \(1,\) at episode 0, step 0; expected \(4,\)"),
        (
            Clerk(wage),
            NotANumber(),
            "reward inf in row 2 at episode 0, step 3; rewards must be finite",
        ),
    ],
)
def test_a_breach_at_play_names_the_row_and_the_step(agent: Any, family: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        evaluate(agent, family, Plan(trials=4))
