"""Observers see the steps of exploration, and the evaluation is the same with and without them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bridge.evaluation import evaluator as module
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.footprint import Fit
from bridge.evaluation.observers import Observer, StepDetail
from bridge.evaluation.plan import Plan
from bridge.evaluation.sums import METRICS
from bridge.protocol import Step
from bridge.references.random import Random
from tests.bridge.books import Clerk, Echo, H, K, wage
from tests.bridge.toys import Corridor, Tally


class Log:
    """Keeps what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], int, int, list[float]]] = []

    def on_step(self, trials: Tensor, episode: int, t: int, step: Step) -> None:
        self.calls.append((trials.tolist(), episode, t, step.reward.tolist()))

    def rows(self) -> dict[str, np.ndarray]:
        return {"t": np.array([t for _, _, t, _ in self.calls])}


@pytest.mark.parametrize(("track", "episodes"), [("O", K), ("F", 2), ("C", 0)])
def test_an_observer_sees_every_step_that_explores_and_no_scored_one(
    track: Any, episodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fit", lambda *_args, **_kwargs: Fit(2, 2))
    log, shots = Log(), 0 if track == "O" else 2
    plan = Plan(trials=3, track=track, shots=shots)
    evaluate(Clerk(wage), Echo(), plan, behaviour=Clerk(wage), observers=[log])
    assert isinstance(log, Observer)
    assert log.calls == [
        (ids, k, t, [float(i + 10 * k + 100 * t) for i in ids])
        for ids in ([0, 1], [2])
        for k in range(episodes)
        for t in range(H)
    ]


@pytest.mark.parametrize("track", ["O", "F"])
def test_an_observer_changes_no_number_and_sees_what_the_detail_holds(track: Any) -> None:
    family, own = Corridor(), StepDetail()
    plan = Plan(trials=30, track=track)
    alone = evaluate(Tally(family), family, plan)
    seen = evaluate(Tally(family), family, plan, observers=[own])
    for metric in METRICS:
        np.testing.assert_array_equal(alone.total[metric], seen.total[metric])
    for name, values in seen.detail.items():
        np.testing.assert_array_equal(values, own.rows()[name])
    assert len(own.rows()["trial"]) > 0
    assert bool(seen.detail) == (track == "O")


def test_steps_of_as_many_trials_are_kept_as_one_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fit", lambda *_args, **_kwargs: Fit(100, 100))
    family, few, every = Corridor(), StepDetail(130), StepDetail(400)
    detail = evaluate(Random(family), family, Plan(trials=400), observers=[few, every]).detail
    assert set(detail["trial"]) == set(range(256))
    assert set(few.rows()["trial"]) == set(range(130))
    assert set(every.rows()["trial"]) == set(range(400))
    for name, values in every.rows().items():
        for fewer, kept in ((few.rows(), 130), (detail, 256)):
            np.testing.assert_array_equal(values[every.rows()["trial"] < kept], fewer[name])


def test_no_step_makes_no_column() -> None:
    detail = StepDetail()
    assert detail.rows() == {}
    family = Corridor()
    tasks = family.sample("id", torch.arange(2))
    late, flag = torch.tensor([256, 300]), torch.zeros(2, dtype=torch.bool)
    state, obs = family.reset(tasks, None)
    detail.on_step(late, 0, 0, Step(obs, state, torch.zeros(2), obs, flag, flag))
    assert detail.rows() == {}
    assert evaluate(Random(family), family, Plan(trials=2)).detail["trial"].max() == 1
