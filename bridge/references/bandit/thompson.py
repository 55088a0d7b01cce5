"""Thompson sampling on bandits: pull the arm that is best in one draw from the posterior (Thompson 1933).

The posterior is that of the training prior: Beta(1, 1) with 0/1 outcomes on Bernoulli arms (dependent arms are taken as
independent, as in the baselines of Wang et al. 2016), and N(1/2, 1/12) with rewards of standard deviation 0.3 on
Gaussian arms (Lee et al. 2023), whatever noise the split has.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.bandit.arm_beliefs import (
    Counts,
    Moments,
    add_moment,
    count,
    no_counts,
    no_moments,
)
from bridge.references.base import Reference, argmax_random_ties
from bridge.rng import Rows
from bridge.tasks.bandit import GAUSSIAN_SD, Bandit

_PRIOR_MEAN, _PRIOR_VARIANCE = 0.5, 1 / 12


class BernoulliThompson(Reference):
    """One Beta draw an arm."""

    def __init__(self, family: Bandit) -> None:
        self.k, self.prior = family.k, family.prior("train")
        self.card = thompson_card()

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Counts:
        return no_counts(len(rng), self.k, self.prior, rng.device)

    def observe(self, memory: Counts, step: Step, carry: Any = None) -> Counts:
        return count(memory, step, self.prior)

    def act(self, memory: Counts, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        if explore:
            return Decision(rng.beta(memory.wins + 1, memory.losses + 1).argmax(-1))
        return Decision(argmax_random_ties((memory.wins + 1) / (memory.pulls + 2), rng))


class GaussianThompson(Reference):
    """One normal draw an arm."""

    def __init__(self, family: Bandit) -> None:
        self.k = family.k
        self.card = thompson_card()

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Moments:
        return no_moments(len(rng), self.k, rng.device)

    def observe(self, memory: Moments, step: Step, carry: Any = None) -> Moments:
        return add_moment(memory, step)

    def act(self, memory: Moments, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        mean, variance = gaussian_posterior(memory, _PRIOR_MEAN, _PRIOR_VARIANCE, GAUSSIAN_SD)
        if explore:
            return Decision((mean + variance.sqrt() * rng.normal(self.k)).argmax(-1))
        return Decision(argmax_random_ties(mean, rng))


def gaussian_posterior(
    memory: Moments, mean: float, variance: float, sd: float
) -> tuple[Tensor, Tensor]:
    """Posterior mean and variance of each arm, ``[B, k]`` each: normal prior, normal rewards of known ``sd > 0``."""
    precision = 1 / variance + memory.pulls / sd**2
    return (mean / variance + memory.total / sd**2) / precision, 1 / precision


def thompson_card() -> Card:
    """What results say of Thompson sampling."""
    return Card(
        method="thompson",
        reference=True,
        supervision="prior",
        decode_rule="rule",
        exact_reference="heuristic",
    )


def thompson(family: Bandit, split: str) -> Reference:
    """Thompson sampling for this kind of arms."""
    return (GaussianThompson if family.arms == "gaussian" else BernoulliThompson)(family)
