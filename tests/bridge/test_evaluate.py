"""The books of the evaluator, on families and agents small enough to keep them by hand.

In ``Echo`` a reward is the action itself, so an agent that knows what it wants to earn writes the expected sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from bridge import evaluate as module
from bridge.errors import ContractError, UserError
from bridge.evaluate import METRICS, Plan, evaluate
from bridge.play import play_episode, record_context
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import Box, Discrete, Outcome, TaskFamily, Tasks, device_zeros
from tests.bridge.toys import Corridor, Tally

K, H = 3, 4


# --- hand-made families and agents ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Echo(TaskFamily):
    """Pays the action; three episodes of four steps."""

    size: int = 0
    """Distinct tasks (0: a continuum)."""

    name: ClassVar[str] = "echo"
    axes: ClassVar[dict] = {}
    observation: ClassVar[Any] = Discrete(H + 1)
    action: ClassVar[Any] = Box((-1e6,), (1e6,))

    def _support(self, split: Any) -> int | None:
        return self.size or None

    def _sample(self, split: Any, index: Tensor, noise: Rows) -> dict[str, Tensor]:
        return {"number": index}

    def trial(self, split: str) -> Trial:
        return Trial(K, H)

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Tensor, Tensor]:
        clock = device_zeros(tasks)
        return clock, clock

    def step(self, tasks: Tasks, state: Tensor, action: Tensor, noise: Rows) -> Outcome:
        return Outcome(state + 1, state + 1, action[:, 0])

    def optimal_return(self, tasks: Tasks, trial: Trial) -> Tensor:
        return 1000.0 + tasks.index


@dataclass(frozen=True, kw_only=True)
class Brief(Echo):
    """Ends after 1 to 4 steps, by task; every other task succeeds with an action of 100 or more."""

    name: ClassVar[str] = "brief"
    ends_early: ClassVar[bool] = True

    def step(self, tasks: Tasks, state: Tensor, action: Tensor, noise: Rows) -> Outcome:
        outcome = super().step(tasks, state, action, noise)
        return outcome._replace(terminated=outcome.state > tasks.params["number"] % H)

    def success(self, tasks: Tasks, step: Step) -> Tensor:
        return (step.action[:, 0] >= 100) & (tasks.params["number"] % 2 == 0)


@dataclass(frozen=True, kw_only=True)
class Race(Echo):
    """Half of the tasks succeed in one step; the others run out of time."""

    name: ClassVar[str] = "race"
    ends_early: ClassVar[bool] = True

    def step(self, tasks: Tasks, state: Tensor, action: Tensor, noise: Rows) -> Outcome:
        quick = tasks.params["number"] % 2 == 0
        return Outcome(state + 1, state + 1, quick.float(), quick)

    def success(self, tasks: Tasks, step: Step) -> Tensor:
        return step.terminated


class Clerk:
    """Earns what ``wage(task, episode, step)`` says, and logs every call."""

    def __init__(self, wage: Callable[[Tensor, int, int], Tensor]) -> None:
        self.wage = wage
        self.card = Card(method="clerk", clue="task", reference=True, exact_reference="exact")
        self.log: list[tuple] = []

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> dict[str, Tensor]:
        self.log.append(("start", trial))
        return {"number": clues.task.index, "steps": torch.zeros_like(clues.task.index)}

    def begin(self, memory: Any, rng: Rows, *, episode: int) -> Any:
        self.log.append(("begin", episode))
        self.episode = episode
        return memory

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        self.log.append(("act", explore))
        return Decision(self.wage(memory["number"], self.episode, int(obs.max())).float()[:, None])

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        self.log.append(("observe",))
        memory["steps"] += 1 if step.live is None else step.live.long()  # in place: a memory handed over is consumed
        return memory

    def adapt(self, memory: Any, rng: Rows, *, episode: int, last: bool) -> Any:
        self.log.append(("adapt", episode, last))
        return memory

    def calls(self, *names: str) -> list[tuple]:
        return [call for call in self.log if call[0] in names]


class Counter(Clerk):
    """Acts the number of steps that it has seen in this trial."""

    def __init__(self) -> None:
        super().__init__(lambda number, episode, step: number)

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        return Decision(memory["steps"].float()[:, None])


def wage(number: Tensor, episode: int, step: int) -> Tensor:
    return number + 10 * episode + 100 * step


def earned(task: int, episode: int, steps: int = H) -> int:
    return sum(task + 10 * episode + 100 * step for step in range(steps))


# --- track O, against a ledger kept by hand ---------------------------------------------------------------------------


def ledger(
    tasks: list[int], cells: list[int], blocks: int, parts: int, value: Callable[[int, int], float]
) -> np.ndarray:
    """n, sum and sum of squares ``[3, blocks, parts, K]`` of ``value(task, episodes so far)``, trial by trial."""
    total = np.zeros((3, blocks * parts, K))
    for task, cell in zip(tasks, cells, strict=True):
        for point in range(K):
            v = value(task, point)
            total[:, cell, point] += (1, v, v * v)
    return total.reshape(3, blocks, parts, K)


SHARES = {
    "finite": (
        Echo(size=5), Plan(trials=63), [i % 5 for i in range(63)], [10 * (i % 5) + (i // 5) % 10 for i in range(63)], 5
    ),
    "more tasks than trials": (Echo(size=50), Plan(trials=3), [0, 1, 2], [0, 10, 20], 3),
    "three trials a task": (
        Echo(), Plan(trials=8, trials_per_task=3), [0, 0, 0, 1, 1, 1, 2, 2], [0, 1, 0, 2, 3, 2, 4, 5], 3
    ),
    "one trial a task": (Echo(), Plan(trials=6), list(range(6)), [2 * i + i % 2 for i in range(6)], 6),
    "blocks of tasks": (
        Echo(), Plan(trials=160), list(range(160)), [2 * (i * 64 // 160) + i % 2 for i in range(160)], 64
    ),
}  # fmt: skip


@pytest.mark.parametrize("share", SHARES)
def test_sums_by_task_part_and_point_are_those_of_a_ledger(share: str) -> None:
    family, plan, tasks, cells, blocks = SHARES[share]
    parts = 10 if family.size else 2
    found = evaluate(Clerk(wage), family, plan)
    assert found.points == (1, 2, 3)

    def so_far(task: int, point: int) -> int:
        return sum(earned(task, episode) for episode in range(point + 1))

    expected = {
        "episode_return": lambda task, point: earned(task, point),
        "trial_return": so_far,
        "regret": lambda task, point: (point + 1) * (1000 + task) - so_far(task, point),
    }
    for metric, value in expected.items():
        np.testing.assert_array_equal(found.total[metric], ledger(tasks, cells, blocks, parts, value))
    assert found.pooled("success") == (0, 0, 0)
    assert np.isnan(found.mean("success"))


def test_pooled_and_mean_are_over_all_trials() -> None:
    found = evaluate(Clerk(wage), Echo(size=2), Plan(trials=5))
    last = [earned(task, K - 1) for task in (0, 1, 0, 1, 0)]
    assert found.pooled("episode_return") == (5, sum(last), sum(v * v for v in last))
    assert found.mean("episode_return", point=0) == np.mean([earned(task, 0) for task in (0, 1, 0, 1, 0)])


def test_a_row_that_ended_earns_nothing_more_and_its_memory_rests() -> None:
    family, agent = Brief(size=4), Clerk(wage)
    seen: list[Step] = []
    tasks, rng = family.sample("id", torch.arange(4)), Rows.of(0, torch.arange(4))
    memory = agent.start(Clues(task=tasks), Trial(1, H), rng)
    memory, totals = play_episode(
        agent, family, tasks, memory, rng, episode=0, horizon=H, visit=lambda t, step: seen.append(step)
    )
    assert totals.reward.tolist() == [earned(task, 0, task + 1) for task in range(4)]
    assert torch.equal(totals.expected, totals.reward)
    assert totals.success is not None
    assert totals.success.tolist() == [False, False, True, False]  # task 0 acts 100 only after its end
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


def test_quick_successes_are_not_over_counted() -> None:
    """The first rows to finish are the lucky ones: who stops there reads 80 percent where the truth is 50."""
    family, trials = Race(), 100
    found = evaluate(Clerk(wage), family, Plan(trials=trials))
    assert found.mean("success") == 0.5
    assert found.pooled("success")[0] == trials
    assert set(np.unique(found.total["success"][0].sum(1))) <= {1.0, 2.0}  # every trial of a block, once a point
    assert _first_to_finish(family, rows=10, episodes=trials) > 0.75


def _first_to_finish(family: Race, rows: int, episodes: int) -> float:
    """What a vector environment with autoreset reports when the first so many episodes to finish are averaged."""
    tasks, rng = family.sample("id", torch.arange(rows)), Rows.of(0, torch.arange(rows))
    state, _ = family.reset(tasks, rng)
    finished: list[float] = []
    while len(finished) < episodes:
        outcome = family.step(tasks, state, torch.zeros(rows, 1), rng)
        assert outcome.terminated is not None
        over = outcome.terminated | (outcome.state == H)
        finished += outcome.reward[over].tolist()
        state = torch.where(over, 0, outcome.state)
    return float(np.mean(finished[:episodes]))


# --- chunks, and the detail of the first trials -----------------------------------------------------------------------


@pytest.mark.parametrize("plan", [Plan(trials=20), Plan(trials=20, track="F"), Plan(trials=20, track="C", shots=2)])
@pytest.mark.parametrize("family", [Corridor(), Bandit(k=3, n=5)], ids=lambda family: family.name)
def test_results_do_not_depend_on_the_chunks(plan: Plan, family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> Any:
        return evaluate(Tally(family), family, plan, behaviour=Random(family))

    whole = run()
    for rows, size in ((7, 1 << 29), (1 << 15, 700)):
        monkeypatch.setattr(module, "_CHUNK_ROWS", rows)
        monkeypatch.setattr(module, "_CHUNK_BYTES", size)
        chunked = run()
        assert chunked.env_steps == whole.env_steps
        for metric in METRICS:
            np.testing.assert_array_equal(chunked.total[metric], whole.total[metric])
        assert chunked.detail.keys() == whole.detail.keys()
        assert set(zip(*chunked.detail.values(), strict=True)) == set(zip(*whole.detail.values(), strict=True))


def test_chunks_are_as_large_as_the_byte_budget_lets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", 1 << 10)
    agent = Clerk(wage)
    evaluate(agent, Echo(), Plan(trials=100))
    row_bytes = 8 + 8 + 8 + 64  # memory: number, steps; task: number; and the allowance
    assert len(agent.calls("start")) - 1 == -(-100 // (1024 // row_bytes))  # one start is the probe of the sizes


@pytest.mark.parametrize("family", [Corridor(), Bandit(k=3, n=5)], ids=lambda family: family.name)
def test_the_detail_of_the_first_trials_adds_up_to_the_sums(family: Any) -> None:
    found = evaluate(Random(family), family, Plan(trials=100))
    detail, episodes = found.detail, found.trial.episodes
    returns = np.zeros((100, episodes))
    np.add.at(returns, (detail["trial"], detail["episode"]), detail["reward"])
    assert found.mean("trial_return") == pytest.approx(returns.sum(1).mean())
    assert found.mean("episode_return", point=0) == pytest.approx(returns[:, 0].mean())
    assert set(detail["step"]) == set(range(found.trial.horizon))


def test_detail_holds_the_steps_that_were_acted_and_no_others() -> None:
    detail = evaluate(Clerk(wage), Brief(), Plan(trials=6)).detail
    found = set(zip(detail["trial"], detail["episode"], detail["step"], strict=True))
    assert len(detail["trial"]) == len(found)
    assert found == {(trial, k, t) for trial in range(6) for k in range(K) for t in range(trial % H + 1)}
    at = (detail["trial"], detail["episode"], detail["step"])
    np.testing.assert_array_equal(detail["reward"], wage(*at))
    np.testing.assert_array_equal(detail["action"][:, 0], wage(*at))


def test_detail_is_kept_for_256_trials_of_track_o(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_ROWS", 100)
    detail = evaluate(Clerk(wage), Echo(), Plan(trials=300)).detail
    assert sorted(set(detail["trial"])) == list(range(256))
    assert len(detail["trial"]) == 256 * K * H
    assert evaluate(Clerk(wage), Echo(), Plan(trials=3, track="F")).detail == {}


# --- tracks C and F: frozen scoring -----------------------------------------------------------------------------------


@pytest.mark.parametrize("track", ["C", "F"])
def test_nothing_passes_between_scored_episodes(track: Any) -> None:
    """A counter has seen H steps a shot when it is scored, and never a step of an earlier score."""
    found = evaluate(Counter(), Echo(), Plan(trials=2, track=track), behaviour=Clerk(wage))
    assert found.points == (0, 1, 2, 3)
    expected = [sum(shots * H + t for t in range(H)) for shots in found.points]
    assert [found.mean("episode_return", point) for point in range(K + 1)] == expected
    regret = [1000 + 0.5 - value for value in expected]
    assert [found.mean("regret", point) for point in range(K + 1)] == regret
    assert found.pooled("trial_return") == (0, 0, 0)


def test_the_verbs_of_track_f_come_in_order() -> None:
    agent = Clerk(wage)
    evaluate(agent, Echo(), Plan(trials=1, track="F", shots=2))
    score, own = [("act", False)] * H, [("act", True)] * H
    told = ("start", Trial(3, H))  # two shots, and the scored episode
    assert agent.calls("start", "begin", "act", "adapt") == [
        told, told,  # once to measure a row
        ("begin", 0), *score,
        ("begin", 0), *own,
        ("adapt", 0, True), ("begin", 1), *score,
        ("adapt", 0, False), ("begin", 1), *own,
        ("adapt", 1, True), ("begin", 2), *score,
    ]  # fmt: skip


def test_the_verbs_of_track_c_come_in_order() -> None:
    agent = Clerk(wage)
    evaluate(agent, Echo(), Plan(trials=1, track="C", shots=1), behaviour=Clerk(wage))
    assert agent.log[2:] == [
        ("begin", 0), *[("act", False), ("observe",)] * H,
        ("begin", 0), *[("observe",)] * H,
        ("adapt", 0, True), ("begin", 1), *[("act", False), ("observe",)] * H,
    ]  # fmt: skip


def test_the_verbs_of_track_o_come_in_order() -> None:
    agent = Clerk(wage)
    evaluate(agent, Echo(), Plan(trials=1))
    episodes = [[("begin", k), *[("act", True)] * H, ("adapt", k, False)] for k in range(K)]
    assert agent.calls("begin", "act", "adapt") == list(chain(*episodes))[:-1]  # nothing follows the last episode


class Witness(Clerk):
    """Keeps what it was shown (of one chunk)."""

    def __init__(self, price: Callable) -> None:
        super().__init__(price)
        self.shown: list[Step] = []

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        self.shown.append(step)
        return super().observe(memory, step, carry)


class Absorber(Witness):
    def absorb(self, memory: Any, steps: list[Step]) -> Any:
        self.shown += [step._replace(live=None) for step in steps]
        return memory | {"steps": memory["steps"] + len(steps)}


def test_track_c_shows_every_method_the_same_context() -> None:
    family, rng = Echo(), Rows.of(5, torch.arange(3))
    behaviour = Clerk(lambda number, episode, step: number * 7 + episode)
    plan = Plan(trials=3, track="C", eval_seed=5, shots=2)
    tasks = family.sample("id", torch.arange(3))
    context = record_context(behaviour, family, "id", tasks, rng.at("context"), Trial(2, H))
    for witness in (Witness(wage), Witness(lambda *where: -wage(*where)), Absorber(wage)):
        evaluate(witness, family, plan, behaviour=behaviour)
        scored = [witness.shown[i * 2 * H : i * 2 * H + H] for i in range(3)]  # score, show, score, show, score
        shown = [witness.shown[i * 2 * H + H : (i + 1) * 2 * H] for i in range(2)]
        assert all(torch.equal(a.action, b.action) for a, b in zip(chain(*shown), chain(*context), strict=True))
        assert all(step.action[0] != other.action[0] for step, other in zip(scored[0][1:], context[0][1:], strict=True))


def test_a_behaviour_is_told_what_the_split_allows() -> None:
    class AsksWho(Clerk):
        def __init__(self) -> None:
            super().__init__(wage)
            self.card = Card(method="asks", clue="id")

        def start(self, clues: Clues, trial: Trial, rng: Rows) -> Any:
            assert clues.task is None
            self.log.append(("told", None if clues.task_id is None else clues.task_id.tolist()))
            return {
                "number": torch.zeros(len(rng), dtype=torch.int64),
                "steps": torch.zeros(len(rng), dtype=torch.int64),
            }

    for split, told in (("train", [0, 1]), ("id", None)):
        behaviour = AsksWho()
        evaluate(Clerk(wage), Echo(tasks=2), Plan(split=split, trials=2, track="C"), behaviour=behaviour)
        assert behaviour.calls("told") == [("told", told)]


# --- what was paid ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "episodes"),
    [
        (Plan(trials=5), K),
        (Plan(trials=5, track="F"), K + (K + 1)),
        (Plan(trials=5, track="C"), K + (K + 1)),
        (Plan(trials=5, track="F", shots=1), 1 + 2),
    ],
)
def test_every_step_is_counted_where_it_is_paid(plan: Plan, episodes: int) -> None:
    reported: list[int] = []
    found = evaluate(Clerk(wage), Echo(), plan, behaviour=Clerk(wage), progress=reported.append)
    assert found.env_steps == sum(reported) == plan.trials * episodes * H


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_the_seed_decides_the_noise_and_nothing_else_does() -> None:
    family = Corridor()
    once, again, other = (evaluate(Tally(family), family, Plan(trials=40, eval_seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once.total["trial_return"], again.total["trial_return"])
    assert once.mean("trial_return") != other.mean("trial_return")


def test_two_methods_meet_the_same_noise() -> None:
    """Agents that act alike are paid alike, whatever else they draw."""
    family = Bandit(k=3, n=5)

    class Draws(Random):
        def begin(self, memory: Any, rng: Rows, *, episode: int) -> Any:
            rng.normal(100)
            return memory

    found = [evaluate(agent(family), family, Plan(trials=30)).detail["reward"] for agent in (Random, Draws)]
    np.testing.assert_array_equal(found[0], found[1])


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
        (broken_wage(float("nan")), Echo(), "act returned a NaN or infinite action in row 2 at episode 1, step 3"),
        (Misshapen(wage), Echo(), r"actions of shape \(4,\) at episode 0, step 0; echo expects \(4, 1\)"),
        (TooMany(Bandit(k=3)), Bandit(k=3), "action 3 in row 2 at episode 0, step 0; bandit:k=3,n=10 has actions 0..2"),
        (HalfArms(Bandit(k=3)), Bandit(k=3), r"torch.float32 actions; bandit:k=3,n=10 expects int64 in 0..2"),
        (Clerk(wage), Unpaid(), r"rewards of shape \(1,\) at episode 0, step 0; expected \(4,\)"),
        (Clerk(wage), NotANumber(), "reward inf in row 2 at episode 0, step 3; rewards must be finite"),
    ],
)
def test_a_breach_at_play_names_the_row_and_the_step(agent: Any, family: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        evaluate(agent, family, Plan(trials=4))


def test_a_learned_agent_may_not_be_told_the_task() -> None:
    agent = Clerk(wage)
    agent.card = Card(method="cheat", clue="task")
    with pytest.raises(ContractError, match="cheat asks to be told the task; only references may"):
        evaluate(agent, Echo(), Plan())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Plan(trials=0), "trials must be 1 or more, found 0"),
        (lambda: Plan(shots=-1), "cannot be negative: 0, -1"),
        (lambda: evaluate(Clerk(wage), Echo(), Plan(track="C")), "name the behaviour agent"),
        (lambda: evaluate(Clerk(wage), Echo(), Plan(track="F", shots=4)), "shots=4 is more than the 3 episodes"),
        (lambda: evaluate(Clerk(wage), Echo(), Plan(split="idd")), "Unknown split of echo: 'idd'. Did you mean 'id'"),
    ],
)
def test_an_impossible_plan_is_refused(make: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
