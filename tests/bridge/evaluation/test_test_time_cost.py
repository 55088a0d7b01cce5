"""Costs of adaptation in a trial: transitions played, gradient steps taken and refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bridge.evaluation import result_rows
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.evaluation.sums import COSTS
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks import family as make_family
from tests.bridge.toys import Corridor


class Stepper:
    """Takes a gradient step after every episode but those of even rows, which refuse it."""

    card = Card(method="stepper")

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> dict[str, Tensor]:
        zero = torch.zeros(len(rng), dtype=torch.int64)
        return {"row": torch.arange(len(rng)), "taken": zero, "refused": zero}

    def begin(self, memory: Any, rng: Rows, *, episode: int) -> Any:
        return memory

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        return Decision(rng.integers(2))

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        return memory

    def adapt(self, memory: Any, rng: Rows, *, episode: int, last: bool) -> Any:
        odd = memory["row"] % 2
        return memory | {"taken": memory["taken"] + odd, "refused": memory["refused"] + 1 - odd}

    def tally(self, memory: Any) -> dict[str, Tensor]:
        return {"grad_steps": memory["taken"], "refused_steps": memory["refused"]}


def test_a_curve_point_has_what_was_spent_before_its_episode_was_scored():
    """Three episodes: before the first no step was taken, before the last two; half of the rows refuse theirs."""
    played = evaluate(Stepper(), Corridor(), Plan(trials=10))
    assert played.points == (1, 2, 3)
    assert played.cost["grad_steps"].tolist() == [0, 0.5, 1]
    assert played.cost["refused_steps"].tolist() == [0, 0.5, 1]


def test_frozen_scoring_counts_its_own_steps():
    played = evaluate(Stepper(), Corridor(), Plan(trials=10, track="F"))
    assert played.points == (0, 1, 2, 3)
    assert played.cost["grad_steps"].tolist() == [0, 0.5, 1, 1.5]


@pytest.mark.parametrize("track", ["O", "F", "C"])
def test_transitions_are_those_before_the_end_of_episodes(track):
    """Corridor ends an episode at its goal: on track O the transitions are the steps of the detail."""
    family = Corridor()
    played = evaluate(Stepper(), family, Plan(trials=50, track=track), behaviour=Random(family))
    transitions = played.cost["transitions"]
    assert 0 < transitions[-1] < 3 * 6
    if track == "O":
        assert transitions[-1] == len(played.detail["step"]) / 50
    else:
        assert transitions[0] == 0
        assert (transitions[1:] > transitions[:-1]).all()


def test_transitions_are_whole_episodes_if_none_ends_early():
    family = make_family("gridnavi")
    assert evaluate(Random(family), family, Plan(trials=5)).cost["transitions"].tolist() == [
        15,
        30,
        45,
        60,
    ]


class Counting(Random):
    """Counts calls of ``act``, each for all rows."""

    calls = 0

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        self.calls += 1
        return super().act(memory, obs, rng, explore=explore)


@pytest.mark.parametrize(("track", "episodes"), [("O", [1, 2, 3, 4]), ("F", [1, 2, 3, 5])])
def test_a_curve_point_has_the_time_of_its_own_fork_and_not_of_others(track, episodes):
    """Shots and one scored episode, each of fifteen steps; ten rows share the calls."""
    family = make_family("gridnavi")
    agent = Counting(family)
    played = evaluate(agent, family, Plan(trials=10, track=track), clock=lambda: agent.calls)
    assert played.cost["clock"].tolist() == pytest.approx([15 * count / 10 for count in episodes])
    seconds = result_rows.table(played, family, agent.card)["test_seconds"].to_numpy()
    assert sorted(set(seconds)) == pytest.approx([15 * count / 10 for count in episodes])


def test_rows_carry_every_cost():
    played = evaluate(Stepper(), Corridor(), Plan(trials=10))
    rows = result_rows.table(played, Corridor(), Stepper.card)
    at = {point: row for row in rows.to_pylist() for point in [row["curve_point"]]}
    assert [at[p]["test_grad_steps"] for p in range(3)] == [0, 0.5, 1]
    assert [at[p]["test_refused_steps"] for p in range(3)] == [0, 0.5, 1]
    assert [at[p]["k_transitions"] for p in range(3)] == played.cost["transitions"].round().tolist()
    assert set(played.cost) == set(COSTS)
