"""Thompson sampling on bandits: pull the arm that is best in one draw from the posterior (Thompson 1933).

The posterior is that of the training prior: Beta(1, 1) with 0/1 outcomes on Bernoulli arms, and N(1/2, 1/12) with
rewards of standard deviation 0.3 on Gaussian arms (Lee et al. 2023), whatever the noise of the split. Arms that depend
on one another are treated as independent with the prior Beta(1, 1): dependent pairs as in the baselines of Wang et al.
2016, those of one best arm as in Krishnamurthy et al. 2024 (arXiv 2403.15371).
"""

from __future__ import annotations

from torch import Tensor

from bridge.protocol import Decision
from bridge.references.bandit.arm_beliefs import (
    CountingReference,
    Counts,
    Moments,
    MomentsReference,
    gaussian_posterior,
)
from bridge.references.base import Reference, argmax_random_ties, reference_card
from bridge.rng import Rows
from bridge.tasks.bandit import GAUSSIAN_SD, Bandit

_PRIOR_MEAN, _PRIOR_VARIANCE = 0.5, 1 / 12


class BernoulliThompson(CountingReference):
    """One Beta draw an arm."""

    def act(self, memory: Counts, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        if explore:
            return Decision(rng.beta(memory.wins + 1, memory.losses + 1).argmax(-1))
        return Decision(argmax_random_ties((memory.wins + 1) / (memory.pulls + 2), rng))


class GaussianThompson(MomentsReference):
    """One normal draw an arm."""

    def act(self, memory: Moments, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        mean, variance = gaussian_posterior(memory, _PRIOR_MEAN, _PRIOR_VARIANCE, GAUSSIAN_SD)
        if explore:
            return Decision((mean + variance.sqrt() * rng.normal(self.k)).argmax(-1))
        return Decision(argmax_random_ties(mean, rng))


def thompson(family: Bandit, split: str) -> Reference:
    """Thompson sampling for this kind of arms."""
    card = reference_card("thompson", "heuristic")
    if family.arms == "gaussian":
        return GaussianThompson(family.k, card)
    return BernoulliThompson(family.k, family.prior("train"), card)
