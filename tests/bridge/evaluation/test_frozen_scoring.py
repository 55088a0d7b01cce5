"""Tracks C and F: an agent is scored frozen between shots, and its memory of scored episodes is dropped."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import torch

from bridge.evaluation import evaluator as module
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.footprint import Fit
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import record_context
from bridge.protocol import Card, Clues, Step, Trial
from bridge.rng import Rows
from tests.bridge.books import Clerk, Counter, Echo, H, K, wage


@pytest.fixture(autouse=True)
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents are called by the evaluation alone, not by the measurement of what a row needs."""
    monkeypatch.setattr(module, "fit", lambda *_args, **_kwargs: Fit(100, 100))


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
    start = ("start", Trial(3, H))  # two shots, and the scored episode
    assert agent.calls("start", "begin", "act", "adapt") == [
        start,
        ("begin", 0),
        *score,
        ("begin", 0),
        *own,
        ("adapt", 0, True),
        ("begin", 1),
        *score,
        ("adapt", 0, False),
        ("begin", 1),
        *own,
        ("adapt", 1, True),
        ("begin", 2),
        *score,
    ]


def test_the_verbs_of_track_c_come_in_order() -> None:
    agent = Clerk(wage)
    evaluate(agent, Echo(), Plan(trials=1, track="C", shots=1), behaviour=Clerk(wage))
    assert agent.log[1:] == [
        ("begin", 0),
        *[("act", False), ("observe",)] * H,
        ("begin", 0),
        *[("observe",)] * H,
        ("adapt", 0, True),
        ("begin", 1),
        *[("act", False), ("observe",)] * H,
    ]


class Witness(Clerk):
    """Keeps the steps that it observes (of one chunk)."""

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
    family, noise = Echo(), TrialNoise.of(5, torch.arange(3))
    behaviour = Clerk(lambda number, episode, step: number * 7 + episode)
    plan = Plan(trials=3, track="C", eval_seed=5, shots=2)
    tasks = family.sample("id", torch.arange(3))
    context = record_context(behaviour, family, "id", tasks, noise.at("context"), Trial(2, H))
    for witness in (Witness(wage), Witness(lambda *where: -wage(*where)), Absorber(wage)):
        evaluate(witness, family, plan, behaviour=behaviour)
        scored = [
            witness.shown[i * 2 * H : i * 2 * H + H] for i in range(3)
        ]  # score, show, score, show, score
        shown = [witness.shown[i * 2 * H + H : (i + 1) * 2 * H] for i in range(2)]
        assert all(
            torch.equal(a.action, b.action)
            for a, b in zip(chain(*shown), chain(*context), strict=True)
        )
        assert all(
            step.action[0] != other.action[0]
            for step, other in zip(scored[0][1:], context[0][1:], strict=True)
        )


def test_a_behaviour_gets_the_clues_of_the_split() -> None:
    class AsksWho(Clerk):
        def __init__(self) -> None:
            super().__init__(wage)
            self.card = Card(method="asks", clue="id")

        def start(self, clues: Clues, trial: Trial, rng: Rows) -> Any:
            assert clues.task is None
            self.log.append(("clue", None if clues.task_id is None else clues.task_id.tolist()))
            return {
                "number": torch.zeros(len(rng), dtype=torch.int64),
                "steps": torch.zeros(len(rng), dtype=torch.int64),
            }

    for split, expected in (("train", [0, 1]), ("id", None)):
        behaviour = AsksWho()
        evaluate(
            Clerk(wage), Echo(tasks=2), Plan(split=split, trials=2, track="C"), behaviour=behaviour
        )
        assert behaviour.calls("clue") == [("clue", expected)]
