"""Similarities of two methods over pairs of their training seeds, with intervals over seeds and trials.

A similarity is a function of resamples of both methods' seeds and of the trials, which they share
(``bridge/evaluation/stats``). So sums and differences of similarities have intervals, too.

Seeds of the same number are not compared if both methods have several: they are one seed of the same method, or share
initial weights, or one is tuned from the other.

Shape letters: I and J training seeds, T trials, R resamples, A actions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
from jaxtyping import Float

from bridge.evaluation import stats
from bridge.evaluation.stats import Interval, Resampled

PerResample = Float[np.ndarray, " R"]


class Pairs(ABC):
    """A similarity of two methods."""

    @abstractmethod
    def of_pairs(self, trials: Float[np.ndarray, "R T"]) -> Float[np.ndarray, "R I J"]:
        """The similarity of each pair of seeds, given how often each resample drew each trial; NaN if not defined."""

    def over(self, one: Resampled, other: Resampled) -> PerResample:
        """The mean over pairs of seeds; NaN in a resample without a pair, or if one of its pairs is not defined."""
        weight = np.einsum("ri,rj->rij", one.seeds, other.seeds)
        if min(weight.shape[1:]) > 1:
            weight = weight * (1 - np.eye(*weight.shape[1:]))
        total = weight.sum((1, 2))
        values = np.where(weight > 0, self.of_pairs(one.tasks), 0.0)
        return (weight * values).sum((1, 2)) / np.where(total > 0, total, nan)


@dataclass(frozen=True)
class Mean(Pairs):
    """A mean over trials.

    Attributes:
        values: the similarity of each pair of seeds on each trial.
        weight: the weight of each trial: the number of its histories.
    """

    values: Float[np.ndarray, "I J T"]
    weight: Float[np.ndarray, " T"]

    def of_pairs(self, trials: Float[np.ndarray, "R T"]) -> Float[np.ndarray, "R I J"]:
        weight = trials * self.weight
        return np.einsum("ijt,rt->rij", self.values, weight) / _counted(weight)


@dataclass(frozen=True)
class Constant(Pairs):
    """A number of each pair of seeds that is not resampled over trials.

    Attributes:
        values: the similarity of each pair.
    """

    values: Float[np.ndarray, "I J"]

    def of_pairs(self, trials: Float[np.ndarray, "R T"]) -> Float[np.ndarray, "R I J"]:
        return np.broadcast_to(self.values, (len(trials), *self.values.shape))


@dataclass(frozen=True)
class Agreement(Pairs):
    """Cohen's kappa of the actions of two agents on the same histories.

    (observed - expected) / (1 - expected), where expected is the agreement of two agents that take their actions as
    often, whatever the history. NaN if one of them always takes the same action: then agreement is no evidence.

    Attributes:
        observed: the number of agreements of each pair in a trial.
        one: how often each seed of the first method takes each action in a trial.
        other: the same of the second.
        weight: the number of histories of each trial.
    """

    observed: Float[np.ndarray, "I J T"]
    one: Float[np.ndarray, "I T A"]
    other: Float[np.ndarray, "J T A"]
    weight: Float[np.ndarray, " T"]

    def of_pairs(self, trials: Float[np.ndarray, "R T"]) -> Float[np.ndarray, "R I J"]:
        histories = _counted(trials * self.weight)
        observed = np.einsum("ijt,rt->rij", self.observed, trials) / histories
        ours, theirs = (
            np.einsum("ita,rt->ria", taken, trials) / histories for taken in (self.one, self.other)
        )
        expected = np.einsum("ria,rja->rij", ours, theirs)
        varies = (ours.max(-1) < 1)[:, :, None] & (theirs.max(-1) < 1)[:, None]
        return np.where(varies, (observed - expected) / np.where(varies, 1 - expected, 1.0), nan)


def _counted(weight: Float[np.ndarray, "R T"]) -> Float[np.ndarray, "R 1 1"]:
    """The number of histories of each resample; NaN for 0, which makes similarities NaN."""
    total = weight.sum(1)[:, None, None]
    return np.where(total > 0, total, nan)


def interval(
    statistic: Callable[[Mapping[str, Resampled]], PerResample],
    seeds: Mapping[str, int],
    trials: int,
    *,
    reps: int = 2000,
) -> Interval:
    """The interval of a function of similarities, as ``bridge.evaluation.stats.interval`` takes it.

    NaN if it is not defined; without ends if it is not defined in some resample (without one of the two seeds of a
    method whose seeds are compared, or on trials without histories that count), or if no resample differs.

    Args:
        statistic: given the resamples of each method's training runs by name.
        seeds: the number of training seeds of each.
        trials: the number of trials.
        reps: resamples of a bootstrap.
    """
    tables = [np.zeros((count, trials)) for count in seeds.values()]
    defined = True

    def of_tables(*resampled: Resampled) -> PerResample:
        nonlocal defined
        found = statistic(dict(zip(seeds, resampled, strict=True)))
        defined = defined and not np.isnan(found).any()
        return np.nan_to_num(found)

    found = stats.interval(of_tables, *tables, reps=reps)
    if defined and found.half > 0:
        return found
    once = [Resampled(table, np.ones((1, len(table))), np.ones((1, trials))) for table in tables]
    mean = float(statistic(dict(zip(seeds, once, strict=True)))[0])
    return Interval(mean, nan, nan, found.n, "none: not defined, or the same, in every resample")
