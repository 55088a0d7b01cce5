"""What an agent is given to draw from leads to nothing of its environment's: neither its noise nor its task."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.bandit.bayes import bayes
from bridge.references.bandit.oracle import BanditOracle
from bridge.references.random import Random
from bridge.rng import _GOLDEN, _MUL_1, _MUL_2, Rows, _mix
from bridge.tasks import family as make_family
from bridge.training.rollouts import task_numbers

FAMILY = make_family("bandit:k=5,n=10")
BAYES = 6.6600
"""What Bayes-optimal play earns on it, by dynamic programming; nobody who is told nothing can earn more."""


class Cheat:
    """Remembers the key of the noise that it is given, and which pull this is."""

    card = Card(method="cheat")

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> dict[str, Tensor]:
        return {"key": rng.key, "episode": torch.zeros_like(rng.key)}

    def begin(self, memory: Any, rng: Rows, *, episode: int) -> Any:
        return memory | {"episode": torch.full_like(memory["episode"], episode)}

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        return memory

    def adapt(self, memory: Any, rng: Rows, *, episode: int, last: bool) -> Any:
        return memory


class Foresees(Cheat):
    """Takes its own key for its environment's, and names the places that rewards are drawn at.

    A pull pays if u < mean, u drawn at that place. Who knows u learns of every pull on which side of u the mean lies,
    and knows before the next which arms surely pay.
    """

    def __init__(self, *context: str) -> None:
        self.context = context

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> dict[str, Tensor]:
        low = torch.zeros(len(rng), FAMILY.k)
        return super().start(clues, trial, rng) | {"low": low, "high": low + 1}

    def _drawn(self, memory: Any, *track: str) -> Tensor:
        return (
            Rows(memory["key"])
            .at(*track, "env", memory["episode"], "step", 0, "reward")
            .uniform()[:, None]
        )

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        low, high = memory["low"], memory["high"]
        pays = ((high - self._drawn(memory, *() if explore else ("score",))) / (high - low)).clamp(
            0, 1
        )
        sure = pays == 1
        least_known = torch.where(sure, high - low, -1.0)  # it pays anyhow: learn something
        return Decision(torch.where(sure.any(1), least_known.argmax(1), pays.argmax(1)))

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        u, arm, paid = (
            self._drawn(memory, *self.context),
            step.action[:, None],
            step.reward[:, None] > 0,
        )
        low, high = (memory[side].gather(1, arm) for side in ("low", "high"))
        low, high = torch.where(paid, low.maximum(u), low), torch.where(paid, high, high.minimum(u))
        return memory | {
            "low": memory["low"].scatter(1, arm, low),
            "high": memory["high"].scatter(1, arm, high),
        }


class Inverts(Cheat):
    """Undoes the mixing of its key by the seed of the evaluation, which is 0, and looks its task up by its number."""

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> dict[str, Tensor]:
        stream = _mix(_mix(0) ^ _GOLDEN)
        number = torch.tensor(
            [_unmix(_unmix(key % 2**64) ^ stream) % 2**62 for key in rng.key.tolist()]
        )
        return super().start(clues, trial, rng) | {
            "best": FAMILY.sample("id", number).params["means"].argmax(-1)
        }

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        return Decision(memory["best"])


def _unmix(x: int) -> int:
    """The inverse of SplitMix64's finaliser."""
    for shift, factor in ((31, _MUL_2), (27, _MUL_1), (30, 1)):
        y = x
        for _ in range(64 // shift):
            y = x ^ y >> shift
        x = y * pow(factor, -1, 2**64) % 2**64
    return (x - _GOLDEN) % 2**64


CHEATS = {"foresees": Foresees(), "inverts": Inverts()}


@pytest.mark.parametrize("name", CHEATS)
def test_who_rebuilds_its_environment_from_its_noise_earns_no_more_than_bayes(name: str) -> None:
    n, total, square = evaluate(CHEATS[name], FAMILY, Plan(trials=10_000)).pooled("trial_return")
    assert total / n < BAYES + 4 * ((square / n - (total / n) ** 2) / n) ** 0.5


@pytest.mark.parametrize(
    ("track", "cheat"), [("C", Foresees("context")), ("F", Foresees()), ("F", Inverts())]
)
def test_nor_where_it_is_scored_frozen(track: Any, cheat: Any) -> None:
    """Of frozen pulls after some shots, the best is at the highest posterior mean."""
    plan = Plan(trials=10_000, track=track, shots=9)
    cheats, honest = (
        evaluate(who, FAMILY, plan, behaviour=Random(FAMILY))
        for who in (cheat, bayes(FAMILY, "id"))
    )
    for point in range(len(cheats.points)):
        assert (
            cheats.mean("episode_return", point)
            < honest.mean("episode_return", point) + 4 * 0.5 / 10_000**0.5
        )


@pytest.mark.parametrize(
    ("who", "exact"),
    [(bayes(FAMILY, "id"), BAYES), (BanditOracle(FAMILY), 50 / 6), (Random(FAMILY), 5.0)],
)
def test_exact_values_are_met(who: Any, exact: float) -> None:
    n, total, square = evaluate(who, FAMILY, Plan(trials=20_000)).pooled("trial_return")
    assert abs(total / n - exact) < 1.96 * ((square / n - (total / n) ** 2) / n) ** 0.5


def test_the_environment_draws_as_ever_and_numbers_the_same_tasks() -> None:
    """The root of suite version 1, which had no other: what draws nothing itself keeps its exact numbers."""
    ids = torch.arange(5)
    noise, rows = TrialNoise.of(7, ids), Rows.of(7, ids)
    assert torch.equal(
        noise.env.at("env", 2, "step", 3).bits(), rows.at("env", 2, "step", 3).bits()
    )
    assert torch.equal(task_numbers(noise), rows.at("task").bits() & ((1 << 62) - 1))


def test_both_streams_go_to_the_same_place_together() -> None:
    ids = torch.arange(4)
    noise, (env, agent) = TrialNoise.of("x", ids), (Rows.of("x", ids), Rows.of("x", ids, "agent"))
    for found, ours, theirs in (
        (noise.at("score", 1), env.at("score", 1), agent.at("score", 1)),
        (noise[1:3], env[1:3], agent[1:3]),
        (noise.fork(2), env.fork(2), agent.fork(2)),
    ):
        assert torch.equal(found.env.bits(), ours.bits())
        assert torch.equal(found.agent.bits(), theirs.bits())
        assert len(found) == len(ours)
        assert found.device == ours.device


@pytest.mark.parametrize("seed", [0, "train/rl2/0"])
def test_roles_of_a_seed_have_roots_of_their_own(seed: Any) -> None:
    ids = torch.arange(50)
    roots = [
        Rows.of(seed, ids),
        Rows.of(seed, ids, "agent"),
        Rows.of(seed, ids, "other"),
        Rows.of(f"agent/{seed}", ids),
    ]
    assert len({key for rows in roots for key in rows.key.tolist()}) == 200
    assert torch.equal(Rows.of(seed, ids, "agent").key, roots[1].key)


AGENT_WORDS = [-944000760506604779, 3087193305755366445]


def test_golden_words_of_agents() -> None:
    """As those of the environment in ``test_rng.py``."""
    assert Rows.of(7, torch.tensor([0, 2**40]), "agent").bits().tolist() == AGENT_WORDS
