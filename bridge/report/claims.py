"""Verdicts on claims from effects with intervals, corrected for the number of claims.

An effect is claimed to lie beyond a bound. Two one-sided t tests are taken of it: that it lies beyond (the claim is
supported) and that it does not (refuted). Several effects make a claim if all of them have to hold, or any:

    all: supported only if each is (the largest p); refuted if one is (the smallest p, times their number)
    any: supported if one is (the smallest p, times their number); refuted only if each is (the largest p)

The p of a claim is twice the smaller one of its two, that of a two-sided test. Holm's (1979) procedure over the whole
sheet decides which claims get a verdict at a family-wise error of 5%; its direction is that of the smaller p. A claim
without numbers counts as one of the sheet.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal, NamedTuple

from scipy.special import stdtr, stdtrit

from bridge.evaluation.stats import Interval

Outcome = Literal["supported", "refuted", "inconclusive", "no rows"]
LEVEL = 0.05
"""The family-wise error of a sheet."""
COUNTED = "counted"
"""The ``kind`` of an interval without width whose number was counted, not estimated."""


class Evidence(ABC):
    """Effects that decide about a claim, and how they are combined."""

    @property
    @abstractmethod
    def supported(self) -> float:
        """The p value of the hypothesis that the claim is false; NaN without numbers."""

    @property
    @abstractmethod
    def refuted(self) -> float:
        """The p value of the hypothesis that the claim is true; NaN without numbers."""

    @property
    @abstractmethod
    def effects(self) -> tuple[Effect, ...]:
        """All effects."""


@dataclass(frozen=True)
class Effect(Evidence):
    """One number, and the bound beyond which it is claimed to lie."""

    name: str
    found: Interval | None
    """None without rows."""
    bound: float
    side: Literal["above", "below"] = "above"

    @property
    def supported(self) -> float:
        """The p value of the hypothesis that it does not lie beyond the bound."""
        return beyond(self.found, self.bound, self.side)

    @property
    def refuted(self) -> float:
        """The p value of the hypothesis that it lies beyond the bound."""
        return beyond(self.found, self.bound, "below" if self.side == "above" else "above")

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Itself."""
        return (self,)


@dataclass(frozen=True)
class AllOf(Evidence):
    """Parts that all have to hold."""

    parts: tuple[Evidence, ...]

    @property
    def supported(self) -> float:
        """The largest of the parts' (an intersection-union test, Berger 1982)."""
        return _largest([part.supported for part in self.parts])

    @property
    def refuted(self) -> float:
        """The smallest of the parts', times their number (Bonferroni)."""
        return _smallest([part.refuted for part in self.parts])

    @property
    def effects(self) -> tuple[Effect, ...]:
        """The effects of all parts."""
        return tuple(effect for part in self.parts for effect in part.effects)


@dataclass(frozen=True)
class AnyOf(Evidence):
    """Parts of which one has to hold."""

    parts: tuple[Evidence, ...]

    @property
    def supported(self) -> float:
        """The smallest of the parts', times their number (Bonferroni)."""
        return _smallest([part.supported for part in self.parts])

    @property
    def refuted(self) -> float:
        """The largest of the parts'."""
        return _largest([part.refuted for part in self.parts])

    @property
    def effects(self) -> tuple[Effect, ...]:
        """The effects of all parts."""
        return tuple(effect for part in self.parts for effect in part.effects)


def beyond(found: Interval | None, bound: float, side: Literal["above", "below"]) -> float:
    """The p value of the hypothesis that a mean does not lie above (below) ``bound``; NaN without an interval.

    p < 0.025 if and only if the 95% interval lies beyond the bound. Smaller ones are those of a t distribution with
    n - 1 degrees of freedom, which is exact for one value a seed, and cautious for differences of methods, which have
    more. A number that is ``COUNTED`` is exact: p is 0 or 1. Any other without width says nothing: seeds that agree to
    the last bit have no known spread.
    """
    if found is None or isnan(found.half):
        return float("nan")
    away = found.mean - bound if side == "above" else bound - found.mean
    if found.half == 0:
        return float(away <= 0) if found.kind == COUNTED else float("nan")
    df = max(1, found.n - 1)
    return float(stdtr(df, -away / found.half * stdtrit(df, 0.975)))


def _largest(p: Sequence[float]) -> float:
    return float("nan") if any(map(isnan, p)) else max(p)


def _smallest(p: Sequence[float]) -> float:
    """Parts without numbers are counted, and say nothing."""
    known = [each for each in p if not isnan(each)]
    return min(1.0, len(p) * min(known)) if known else float("nan")


class Verdict(NamedTuple):
    """The outcome of one claim, and its p."""

    outcome: Outcome
    p: float
    """Adjusted for the sheet; NaN without numbers."""


def verdicts(sheet: Mapping[str, Evidence]) -> dict[str, Verdict]:
    """The verdict on each claim, by name."""
    from statsmodels.stats.multitest import multipletests

    if not sheet:
        return {}
    both = {name: (evidence.supported, evidence.refuted) for name, evidence in sheet.items()}
    raw = {name: _two_sided(*pair) for name, pair in both.items()}
    counted = [1.0 if isnan(p) else p for p in raw.values()]
    clear, adjusted, *_ = multipletests(counted, alpha=LEVEL, method="holm")
    found = {}
    for (name, p), is_clear, corrected in zip(raw.items(), clear, adjusted, strict=True):
        if isnan(p):
            found[name] = Verdict("no rows", p)
            continue
        supported, refuted = (2.0 if isnan(each) else each for each in both[name])
        side: Outcome = "supported" if supported < refuted else "refuted"
        found[name] = Verdict(side if is_clear else "inconclusive", float(corrected))
    return found


def _two_sided(supported: float, refuted: float) -> float:
    known = [each for each in (supported, refuted) if not isnan(each)]
    return min(1.0, 2 * min(known)) if known else float("nan")
