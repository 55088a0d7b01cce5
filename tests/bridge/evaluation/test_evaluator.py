"""The books of the evaluator, against books kept by hand."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from bridge.errors import ContractError, UserError
from bridge.evaluation import evaluator as module
from bridge.evaluation import result_rows
from bridge.evaluation.assignment import Assignment
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.footprint import Fit
from bridge.evaluation.plan import Plan
from bridge.evaluation.sums import METRICS
from bridge.noise import TrialNoise
from bridge.play import EpisodeTotals, play_episode, record_context
from bridge.protocol import Card, Step, Trial
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import Outcome, Tasks
from tests.bridge.books import Brief, Clerk, Echo, H, K, earned, wage
from tests.bridge.toys import Corridor, Tally

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
        Echo(size=5),
        Plan(trials=63),
        [i % 5 for i in range(63)],
        [10 * (i % 5) + (i // 5) % 10 for i in range(63)],
        5,
    ),
    "finite, some left out": (
        Echo(size=5),
        Plan(trials=63, left_out=(0, 3)),
        [(1, 2, 4)[i % 3] for i in range(63)],
        [10 * (i % 3) + (i // 3) % 10 for i in range(63)],
        3,
    ),
    "more tasks than trials": (Echo(size=50), Plan(trials=3), [0, 1, 2], [0, 10, 20], 3),
    "three trials a task": (
        Echo(),
        Plan(trials=8, trials_per_task=3),
        [0, 0, 0, 1, 1, 1, 2, 2],
        [0, 1, 0, 2, 3, 2, 4, 5],
        3,
    ),
    "one trial a task": (
        Echo(),
        Plan(trials=6),
        list(range(6)),
        [2 * i + i % 2 for i in range(6)],
        6,
    ),
    "blocks of tasks": (
        Echo(),
        Plan(trials=160),
        list(range(160)),
        [2 * (i * 64 // 160) + i % 2 for i in range(160)],
        64,
    ),
}


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
        np.testing.assert_array_equal(
            found.total[metric], ledger(tasks, cells, blocks, parts, value)
        )
    assert found.pooled("success") == (0, 0, 0)
    assert np.isnan(found.mean("success"))


def test_pooled_and_mean_are_over_all_trials() -> None:
    found = evaluate(Clerk(wage), Echo(size=2), Plan(trials=5))
    last = [earned(task, K - 1) for task in (0, 1, 0, 1, 0)]
    assert found.pooled("episode_return") == (5, sum(last), sum(v * v for v in last))
    assert found.mean("episode_return", point=0) == np.mean(
        [earned(task, 0) for task in (0, 1, 0, 1, 0)]
    )


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


def test_quick_successes_are_not_over_counted() -> None:
    """The first rows to finish are the lucky ones: an average over them is 80 percent, and the truth is 50."""
    family, trials = Race(), 100
    found = evaluate(Clerk(wage), family, Plan(trials=trials))
    assert found.mean("success") == 0.5
    assert found.pooled("success")[0] == trials
    assert set(np.unique(found.total["success"][0].sum(1))) <= {
        1.0,
        2.0,
    }  # every trial of a block, once a point
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


def test_the_verbs_of_track_o_come_in_order() -> None:
    agent = Clerk(wage)
    evaluate(agent, Echo(), Plan(trials=1))
    episodes = [[("begin", k), *[("act", True)] * H, ("adapt", k, False)] for k in range(K)]
    assert (
        agent.calls("begin", "act", "adapt") == list(chain(*episodes))[:-1]
    )  # nothing follows the last episode


# --- chunks, and the detail of the first trials -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan", [Plan(trials=20), Plan(trials=20, track="F"), Plan(trials=20, track="C", shots=2)]
)
@pytest.mark.parametrize("family", [Corridor(), Bandit(k=3, n=5)], ids=lambda family: family.name)
def test_results_do_not_depend_on_the_chunks(
    plan: Plan, family: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> Any:
        return evaluate(Tally(family), family, plan, behaviour=Random(family))

    whole = run()
    for size in (Fit(7, 7), Fit(1, 1), Fit(20, 3), Fit(9, 4)):
        monkeypatch.setattr(module, "fit", lambda *_args, size=size, **_kwargs: size)
        chunked = run()
        assert chunked.env_steps == whole.env_steps
        for metric in METRICS:
            np.testing.assert_array_equal(chunked.total[metric], whole.total[metric])
        assert chunked.detail.keys() == whole.detail.keys()
        assert set(zip(*chunked.detail.values(), strict=True)) == set(
            zip(*whole.detail.values(), strict=True)
        )


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
    assert found == {
        (trial, k, t) for trial in range(6) for k in range(K) for t in range(trial % H + 1)
    }
    at = (detail["trial"], detail["episode"], detail["step"])
    np.testing.assert_array_equal(detail["reward"], wage(*at))
    np.testing.assert_array_equal(detail["action"][:, 0], wage(*at))


def test_detail_is_kept_for_256_trials_of_track_o(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fit", lambda *_args, **_kwargs: Fit(100, 100))
    detail = evaluate(Clerk(wage), Echo(), Plan(trials=300)).detail
    assert sorted(set(detail["trial"])) == list(range(256))
    assert len(detail["trial"]) == 256 * K * H
    assert evaluate(Clerk(wage), Echo(), Plan(trials=3, track="F")).detail == {}


def test_only_a_finite_list_can_be_played_in_part_and_not_without_all_of_it() -> None:
    for family, gone, message in (
        (Echo(size=2), (0, 1), "All 2 tasks of id are left out"),
        (Echo(), (0,), "drawn from a continuum"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(Clerk(wage), family, Plan(trials=4, left_out=gone))


def test_rows_of_a_list_in_part_name_the_tasks_by_their_numbers_in_all_of_it() -> None:
    family, plan = make_family("gridnavi"), Plan(trials=36, left_out=(0, 2, 20))
    rows = result_rows.table(
        evaluate(Random(family), family, plan), family, Random(family).card
    ).to_pylist()
    goals = family.sample("id", torch.arange(21)).params["goal"].tolist()
    assert {row["task_id"] for row in rows} == set(range(21)) - {0, 2, 20}
    assert all(json.loads(row["task_params"])["goal"] == goals[row["task_id"]] for row in rows)


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_informed_return_is_that_of_trials_whose_context_holds_a_success() -> None:
    """Counted again by hand, from the same contexts and the same frozen episodes."""
    family = make_family("gridnavi:episodes=4")
    plan = Plan(track="C", trials=210, shots=2)
    found = evaluate(Random(family), family, plan, behaviour=Random(family))
    ids = torch.arange(210)
    noise, tasks = TrialNoise.of(0, ids), family.sample("id", Assignment.of(family, plan).task(ids))
    shown = record_context(Random(family), family, "id", tasks, noise.at("context"), Trial(2, 15))
    known = [torch.zeros(210, dtype=torch.bool)]
    for steps in shown:
        known.append(
            known[-1]
            | torch.stack([(step.next_obs == tasks.params["goal"]).all(-1) for step in steps]).any(
                0
            )
        )
    assert 0 < known[1].sum() < known[2].sum() < 210
    for point, informed in enumerate(known):
        _, totals = play_episode(
            Random(family),
            family,
            tasks,
            torch.zeros(210, 0),
            noise.at("score"),
            episode=point,
            horizon=15,
            explore=False,
        )
        n, total, square = found.pooled("informed_return", point)
        assert n == informed.sum()
        assert total == pytest.approx(totals.reward[informed].sum().item(), abs=1e-3)
        assert square == pytest.approx(totals.reward[informed].square().sum().item(), abs=1e-2)
        assert found.pooled("episode_return", point)[0] == 210


def test_a_row_that_stands_still_meets_no_success() -> None:
    family = make_family("gridnavi")
    goal = torch.tensor([[3, 3], [3, 3], [1, 1]])
    idle, flags = torch.tensor([True, False, True]), torch.zeros(3, dtype=torch.bool)
    there = torch.tensor([[3.0, 3.0]]).repeat(3, 1)
    steps = [
        Step(there, flags.long(), torch.zeros(3), there, flags, flags, live)
        for live in (idle, None)
    ]
    tasks = Tasks(torch.arange(3), {"goal": goal})
    none = EpisodeTotals.zeros(3, torch.device("cpu"))
    once = none.plus(family, tasks, steps[0])
    twice = once.plus(family, tasks, steps[1])
    assert once.success is not None
    assert once.success.tolist() == [True, False, False]
    assert twice.success is not None
    assert twice.success.tolist() == [True, True, False]
    assert twice.steps.tolist() == [2, 1, 2]


def test_nobody_is_informed_where_nothing_is_shown() -> None:
    for track in ("O", "F"):
        assert (
            evaluate(Clerk(wage), Echo(), Plan(trials=4, track=track)).pooled("informed_return")[0]
            == 0
        )


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
    once, again, other = (
        evaluate(Tally(family), family, Plan(trials=40, eval_seed=seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(once.total["trial_return"], again.total["trial_return"])
    assert once.mean("trial_return") != other.mean("trial_return")


def test_two_methods_meet_the_same_noise() -> None:
    """Agents that act alike are paid alike, whatever else they draw."""
    family = Bandit(k=3, n=5)

    class Draws(Random):
        def begin(self, memory: Any, rng: Rows, *, episode: int) -> Any:
            rng.normal(100)
            return memory

    found = [
        evaluate(agent(family), family, Plan(trials=30)).detail["reward"]
        for agent in (Random, Draws)
    ]
    np.testing.assert_array_equal(found[0], found[1])


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_learned_agent_may_not_be_given_the_task() -> None:
    agent = Clerk(wage)
    agent.card = Card(method="cheat", clue="task")
    with pytest.raises(
        ContractError, match="cheat asks to be given the task; only references may be"
    ):
        evaluate(agent, Echo(), Plan())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Plan(trials=0), "trials must be 1 or more, found 0"),
        (lambda: Plan(shots=-1), "cannot be negative: 0, -1"),
        (lambda: evaluate(Clerk(wage), Echo(), Plan(track="C")), "name the behaviour agent"),
        (
            lambda: evaluate(Clerk(wage), Echo(), Plan(track="F", shots=4)),
            "shots=4 is more than the 3 episodes",
        ),
        (
            lambda: evaluate(Clerk(wage), Echo(), Plan(split="shift/context_quality/2")),
            "only track C shows anything",
        ),
        (
            lambda: evaluate(Clerk(wage), Echo(), Plan(split="idd")),
            "Unknown split of echo: 'idd'. Did you mean 'id'",
        ),
    ],
)
def test_an_impossible_plan_is_refused(make: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
