"""Episodes and trials: rows that end early rest, and a broken agent or family is named with its row and step."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bridge import memory as tree
from bridge.errors import ContractError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import play_episode, play_trial, record_context
from bridge.protocol import Clues, Decision, Step, Trial
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import Outcome, Tasks
from tests.bridge.books import Brief, Clerk, Echo, H, K, earned, wage
from tests.bridge.toys import Corridor, Tally


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
        visit=lambda _t, step, _decision: seen.append(step),
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


# --- trials -----------------------------------------------------------------------------------------------------------


def started(agent: Any, family: Any) -> tuple[Tasks, Any, TrialNoise, Trial]:
    """Four tasks of ``id``, the memory at the start of their trials, their noise, and the trial."""
    ids = torch.arange(4)
    tasks, noise, trial = family.sample("id", ids), TrialNoise.of(0, ids), family.trial("id")
    return tasks, agent.start(Clues(task=tasks), trial, noise.agent.at("start")), noise, trial


def test_a_trial_is_episodes_with_adaptation_between_them_alone() -> None:
    agent, family, seen = Clerk(wage), Echo(size=4), []
    tasks, memory, noise, trial = started(agent, family)
    played = play_trial(
        agent, family, tasks, memory, noise, trial, on_step=lambda *at: seen.append(at[:2])
    )
    for k, (episode, memory, totals) in enumerate(played):
        assert episode == k
        assert totals.reward.tolist() == [earned(task, k) for task in range(4)]
        assert memory["steps"].tolist() == [H * (k + 1)] * 4
        assert len(agent.calls("adapt")) == k  # the agent has not adapted to this episode yet
    assert agent.calls("begin", "adapt") == [
        ("begin", 0),
        ("adapt", 0, False),
        ("begin", 1),
        ("adapt", 1, False),
        ("begin", 2),
    ]
    assert seen == [(k, t) for k in range(K) for t in range(H)]


def test_nothing_is_played_before_the_first_episode_is_asked_for() -> None:
    agent = Clerk(wage)
    play_trial(agent, Echo(), *started(agent, Echo()))
    assert not agent.calls("begin", "act")


class Noisy(Tally):
    """Adapts by a draw."""

    def adapt(self, memory: Any, rng: Rows, *, episode: int, last: bool) -> Any:
        return memory._replace(paid=0.9 * memory.paid + rng.normal(self.actions))


def test_a_trial_is_bitwise_the_loop_that_it_stands_for() -> None:
    """Also if its consumer adapts and scores forks of the memories that it yields."""
    family = Corridor()
    agent: Any = Noisy(family)
    tasks, memory, noise, trial = started(agent, family)
    expected = []
    for k in range(trial.episodes):
        if k:
            rng = noise.agent.at(k - 1, "adapt")
            memory = agent.adapt(memory, rng, episode=k - 1, last=False)
        memory, totals = play_episode(
            agent, family, tasks, memory, noise, episode=k, horizon=trial.horizon
        )
        expected.append((k, tree.fork(memory), totals))
    tasks, memory, noise, trial = started(agent, family)
    for want, found in zip(
        expected, play_trial(agent, family, tasks, memory, noise, trial), strict=True
    ):
        assert found.episode == want[0]
        pairs = zip(tree.leaves((found.memory, found.totals)), tree.leaves(want[1:]), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        fork = agent.adapt(tree.fork(found.memory), noise.agent, episode=found.episode, last=True)
        score = noise.at("score")
        play_episode(agent, family, tasks, fork, score, episode=0, horizon=trial.horizon)


def test_the_callers_adaptation_is_used_in_place_of_the_agents() -> None:
    agent, calls = Clerk(wage), []

    def adapt(memory: Any, episode: int, last: bool) -> Any:
        calls.append((episode, last))
        return memory | {"steps": torch.zeros_like(memory["steps"])}

    played = [
        memory["steps"].tolist()
        for _, memory, _ in play_trial(agent, Echo(), *started(agent, Echo()), adapt=adapt)
    ]
    assert calls == [(0, False), (1, False)]
    assert not agent.calls("adapt")
    assert played == [[H] * 4] * 3


def test_an_agent_that_is_shown_its_own_trial_comes_to_the_same_memories_and_totals() -> None:
    family = Corridor()
    agent: Any = Noisy(family)
    tasks, _, noise, trial = started(agent, family)
    context = record_context(agent, family, "id", tasks, noise, trial)
    trials = [
        play_trial(agent, family, *started(agent, family), context=shown)
        for shown in (None, context)
    ]
    for own, shown in zip(*trials, strict=True):
        pairs = zip(tree.leaves(own[1:]), tree.leaves(shown[1:]), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


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
