"""Falls of scores from id to a shifted split, and the parts of a fall.

    fall   = score on id - score on the shifted split
    tasks  = bayes on id - bayes on the split                the best possible play earns less (or more), too
    prior  = bayes on the split - bayes_train on the split   what any learner of the training distribution loses
    method = (bayes_train - method) on the split - (bayes - method) on id
                                                             how much farther it is from the best learner than on id

The last three add up to the fall. They are known if both references are exact on the split. ``bayes_train`` has learned
the training distribution; on families with fixed training tasks, ``bayes_tasks`` in its place has learned these alone.
"""

from __future__ import annotations

from math import hypot
from typing import NamedTuple

from bridge.evaluation.stats import Interval
from bridge.report.summary import Key, Results

WORKS = 0.5
"""A method still works at a level if it keeps this share of its score on id."""


class Fall(NamedTuple):
    """The loss of a method from id to a shifted split, in units of score."""

    total: Interval
    tasks: Interval | None
    prior: Interval | None
    method: Interval | None


def fall(results: Results, key: Key, learner: str = "bayes_train") -> Fall | None:
    """The fall of a method on a shifted split; None without scores on it and on id.

    ``learner`` is the exact learner of training whose loss is the prior's part. Scores on two splits are taken for
    independent. Levels are paired with id, so intervals are usually too wide.
    """
    here = key._replace(split="id")
    before, after = results.score(here), results.score(key)
    if before is None or after is None:
        return None
    total = difference(before, after)
    prior = results.delta_prior(key.family, key.split, key.track, learner)
    best = results.score(here._replace(method="bayes"))
    shifted = results.score(key._replace(method="bayes"))
    if prior is None or best is None or shifted is None:
        return Fall(total, None, None, None)
    at_home, away = _short_of(results, here, "bayes"), _short_of(results, key, learner)
    return Fall(total, difference(best, shifted), prior, difference(away, at_home))


def _short_of(results: Results, key: Key, reference: str) -> Interval:
    """The score of a reference less that of a method."""
    if key.method == reference:
        return Interval(0.0, 0.0, 0.0, 1, "none: the same")
    found = results.score_difference(key, reference)
    assert found is not None  # the reference and the method have scores there
    return found._replace(mean=-found.mean, low=-found.high, high=-found.low)


def difference(one: Interval, other: Interval) -> Interval:
    """The difference of two independent estimates; halves of their intervals combine in quadrature."""
    mean, half = one.mean - other.mean, hypot(one.half, other.half)
    return Interval(mean, mean - half, mean + half, min(one.n, other.n), "two estimates")


def works_at(results: Results, key: Key, splits: dict[float, str]) -> list[float] | None:
    """The values of an axis (with their splits) at which a method works; None if its score on id is not clear of 0."""
    before = results.score(key._replace(split="id"))
    if before is None or not before.low > 0:
        return None
    scores = {value: results.score(key._replace(split=splits[value])) for value in sorted(splits)}
    return [value for value, score in scores.items() if score and score.mean >= WORKS * before.mean]
