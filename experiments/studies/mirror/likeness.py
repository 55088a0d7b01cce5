"""Similarities of every two methods on the histories of one split, by several measures.

Shape letters: S training seeds, P numbers of shots, T trials, H steps, A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from bridge.evaluation.stats import Interval
from bridge.similarity import outcomes, pairs, states
from bridge.similarity.divergences import jensen_shannon
from bridge.similarity.pairs import Agreement, Constant, Mean, Pairs
from bridge.similarity.states import Seen
from experiments.studies.histories import Responses

UNDECIDED = (1e-6, 0.1)
"""A history is undecided if the two largest posterior mean rewards of actions differ by more than the first number and
by less than the second. (Ties are broken by each learner as it likes, which is no evidence.)"""
LEARNER = "bayes_train"
"""The exact learner of the training distribution, whose errors are the bar for those of others."""
BEST = "bayes"
"""The exact learner of the split, whose posterior says which histories are undecided."""
Pair = tuple[str, str]


class Quartet(NamedTuple):
    """Four methods, of which the first two and the last two should mirror each other."""

    icl: str
    rl2: str
    lora: str
    maml: str

    @property
    def alike(self) -> tuple[Pair, ...]:
        """The pairs that should be alike."""
        return (self.icl, self.rl2), (self.lora, self.maml)

    @property
    def unlike(self) -> tuple[Pair, ...]:
        """The pairs that should not."""
        return (self.icl, self.maml), (self.lora, self.rl2)

    @property
    def claims(self) -> dict[str, tuple[tuple[Pair, ...], tuple[Pair, ...]]]:
        """By name the pairs that should be more alike, and those that should be less: all of them, and the halves: what
        is nearer to RL², and what is nearer to MAML."""
        (near_rl2, near_maml), (far_maml, far_rl2) = self.alike, self.unlike
        return {
            "M": (self.alike, self.unlike),
            f"to {self.rl2}": ((near_rl2,), (far_rl2,)),
            f"to {self.maml}": ((near_maml,), (far_maml,)),
        }

    @property
    def crossed(self) -> tuple[Pair, ...]:
        """The third way to pair them."""
        return (self.icl, self.lora), (self.rl2, self.maml)


QUARTETS = (
    Quartet("icl_rl", "rl2", "lora_reward:run=icl_rl", "maml"),
    Quartet("icl_rl", "rl2", "lora_reward:run=mt", "maml"),
)
"""LoRA on in-context runs, and on runs that were pretrained on single episodes, which do not adapt by themselves."""


@dataclass(frozen=True)
class Likeness:
    """Similarities of the methods of one split."""

    responses: Mapping[str, Responses]
    """By the method's name."""

    @cached_property
    def histories(self) -> Bool[np.ndarray, "P T H"]:
        """True for the histories that count: after one shot or more, at steps that were taken, and undecided if the
        exact learner of the split is here and gives the posterior means of its actions."""
        first = next(iter(self.responses.values()))
        counts = first.policy[0].sum(-1) > 0.5
        counts &= (np.array(first.shots) > 0)[:, None, None]
        best = self.responses.get(BEST)
        if best is not None and best.state is not None:
            means = np.sort(best.state[0], -1)
            lead, (least, most) = means[..., -1] - means[..., -2], UNDECIDED
            counts &= ((least < lead) & (lead < most))[..., None]
        return counts

    def interval(self, measure: str, *of: tuple[float, Pair]) -> Interval:
        """The interval of a weighted sum of similarities of pairs of methods.

        Methods that play the same runs (``icl_rl``, and LoRA on it) share their resamples of seeds.
        """
        runs = {_run(name): self.responses[name].seeds for _, pair in of for name in pair}
        similar = {pair: self.pairs(measure, *pair) for _, pair in of}

        def statistic(resampled):
            terms = [w * similar[p].over(*(resampled[_run(name)] for name in p)) for w, p in of]
            return np.sum(terms, axis=0)

        return pairs.interval(statistic, runs, self.histories.shape[1])

    def pairs(self, measure: str, one: str, other: str) -> Pairs:
        """The similarity of two methods by one of ``MEASURES``."""
        key = (measure, one, other)
        if key not in self._known:
            self._known[key] = MEASURES[measure](self, one, other)
        return self._known[key]

    @cached_property
    def _known(self) -> dict[tuple[str, str, str], Pairs]:
        """The similarities so far."""
        return {}

    @cached_property
    def states(self) -> dict[str, list[list[Seen]]]:
        """The states of each method, by seed and number of shots; no seed for a method without states, or whose states
        are always the same.

        Numbers of shots are those after which the states of all other methods differ between trials, so that all pairs
        are compared on the same histories.
        """
        varies = {name: _varies(found) for name, found in self.responses.items()}
        varying = [each for each in varies.values() if each.any()]
        points = np.flatnonzero(np.all(varying, axis=0)) if varying else []
        return {
            name: [[Seen.of(seed[p]) for p in points] for seed in found.state]
            if found.state is not None and varies[name].any()
            else []
            for name, found in self.responses.items()
        }


def _run(method: str) -> str:
    """The method whose runs a method plays: ``icl_rl`` of ``lora_reward:run=icl_rl``."""
    return method.rpartition("run=")[2]


def _varies(found: Responses) -> Bool[np.ndarray, " P"]:
    """True for numbers of shots after which the states of every seed differ between trials."""
    if found.state is None:
        return np.zeros(len(found.shots), bool)
    return (np.ptp(found.state, axis=2).max(-1) > 0).all(0)


def _policies(here: Likeness, one: str, other: str) -> Pairs:
    """1 less the Jensen-Shannon divergence in bits."""
    counts, (ours, theirs) = here.histories, (here.responses[n].policy for n in (one, other))
    values = 1 - jensen_shannon(ours[:, None], theirs[None])  # [I, J, P, T, H]
    total = np.where(counts, values, 0.0).sum((2, 4))
    weight = counts.sum((0, 2)).astype(float)
    return Mean(total / np.maximum(weight, 1), weight)


def _actions(here: Likeness, one: str, other: str) -> Pairs:
    """Cohen's kappa of the likeliest actions."""
    counts = here.histories
    kept = [counts[..., None] * _likeliest(here.responses[name]) for name in (one, other)]
    observed = np.einsum("iptha,jptha->ijt", *kept)
    weight = counts.sum((0, 2)).astype(float)
    return Agreement(observed, *(taken.sum((1, 3)) for taken in kept), weight)


def _likeliest(found: Responses) -> Float[np.ndarray, "S P T H A"]:
    """1 for the likeliest action, 0 for the others."""
    return np.eye(found.policy.shape[-1])[found.policy.argmax(-1)]


def _over_shots(measure: Callable[[Seen, Seen], float]) -> Callable[[Likeness, str, str], Pairs]:
    """The mean over numbers of shots of a measure of states; NaN if one of the methods has none."""

    def similarity(here: Likeness, one: str, other: str) -> Pairs:
        values = np.full([here.responses[name].seeds for name in (one, other)], np.nan)
        for i, ours in enumerate(here.states[one]):
            for j, theirs in enumerate(here.states[other]):
                values[i, j] = np.mean([measure(*both) for both in zip(ours, theirs, strict=True)])
        return Constant(values)

    return similarity


def _both_ways(x: Seen, y: Seen) -> float:
    """The worse of two simulations, each of one state by the other."""
    return min(states.simulated(x, y), states.simulated(y, x))


def _curves(here: Likeness, one: str, other: str) -> Pairs:
    """The correlation over trials of the mean regret after one shot or more, given the optimum of the task."""
    optimum = here.responses[one].optimum[-1][:, None]
    areas = [here.responses[name].regret[:, 1:].mean(1) for name in (one, other)]
    return _of_seeds(areas, lambda x, y: outcomes.partial_correlation(x, y, optimum))


def _errors(here: Likeness, one: str, other: str) -> Pairs:
    """Cohen's kappa of errors: regrets, after all shots, above that of the exact learner, or else above half of the
    optimum."""
    exact = here.responses.get(LEARNER)
    bar = here.responses[one].optimum[-1] / 2 if exact is None else exact.regret[0, -1]
    errors = [here.responses[name].regret[:, -1] > bar + 1e-6 for name in (one, other)]
    return _of_seeds(errors, outcomes.error_consistency)


def _of_seeds(
    values: Sequence[np.ndarray], measure: Callable[[np.ndarray, np.ndarray], float]
) -> Pairs:
    """A measure of two rows of trials, of each pair of seeds."""
    ours, theirs = values
    return Constant(np.array([[measure(x, y) for y in theirs] for x in ours]))


MEASURES: dict[str, Callable[[Likeness, str, str], Pairs]] = {
    "policies": _policies,
    "actions": _actions,
    "states": _over_shots(states.cka),
    "simulation": _over_shots(_both_ways),
    "curves": _curves,
    "errors": _errors,
}
"""Measures of similarity by name; each is 1 for equal agents."""
