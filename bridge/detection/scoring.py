"""Scores of signals that foretell failures, and of a switch to a fallback by them.

A signal is a number for each trial, computed from its first episodes; the larger it is, the more is to be feared. A
trial fails if the method earns less than a safe fallback would. (A trial of a shifted task that the method handles is
no failure.)

Shape letters: T trials.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

Signal = Float[np.ndarray, " T"]
"""Larger is worse."""


def auroc(signal: Signal, failed: Bool[np.ndarray, " T"]) -> float:
    """The chance that a failed trial has the larger signal than one that did not fail; ties count one half.

    0.5 for a signal that knows nothing, 1 for one that knows all; NaN unless some trials fail and some do not.
    """
    failures, others = int(failed.sum()), int((~failed).sum())
    if not failures or not others:
        return float("nan")
    above = rankdata(signal)[failed].sum() - failures * (failures + 1) / 2
    return float(above / (failures * others))


def auroc_within(
    signal: Signal, failed: Bool[np.ndarray, " T"], group: Int[np.ndarray, " T"]
) -> float:
    """``auroc`` over pairs of trials of the same group alone: a signal that only tells groups apart has 0.5.

    NaN if no group has trials that fail and trials that do not.
    """
    pairs, above = 0, 0.0
    for each in np.unique(group):
        of = group == each
        count = int(failed[of].sum()) * int((~failed[of]).sum())
        if count:
            pairs += count
            above += count * auroc(signal[of], failed[of])
    return above / pairs if pairs else float("nan")


def false_alarms(signal: Signal, failed: Bool[np.ndarray, " T"], share: float = 0.95) -> float:
    """The share of the other trials that have an alarm, at the largest threshold that detects ``share`` of failures.

    A trial has an alarm if its signal is at the threshold or above. NaN as for ``auroc``.
    """
    if not failed.any() or failed.all():
        return float("nan")
    threshold = np.sort(signal[failed])[::-1][int(np.ceil(share * failed.sum())) - 1]
    return float(np.mean(signal[~failed] >= threshold))


def risk_over_coverage(signal: Signal, loss: Float[np.ndarray, " T"]) -> float:
    """The area under the risk-coverage curve (AURC; Geifman & El-Yaniv 2017, arXiv 1705.08500).

    It is the mean loss of the c trials with the lowest signals, averaged over c = 1 .. T. Trials with the same signal
    are kept in random order, in expectation.
    """
    return float(risks(signal, loss).mean())


def risks(signal: Signal, loss: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """The mean loss of the c trials with the lowest signals, for c = 1 .. T: the risk-coverage curve."""
    expected = _averaged_over_ties(signal, loss)
    kept = expected[np.argsort(signal, kind="stable")]
    return np.cumsum(kept) / np.arange(1, len(kept) + 1)


def excess_risk(signal: Signal, loss: Float[np.ndarray, " T"]) -> float:
    """``risk_over_coverage`` less that of the best signal, the loss itself; 0 at best (E-AURC)."""
    return risk_over_coverage(signal, loss) - risk_over_coverage(loss, loss)


def _averaged_over_ties(signal: Signal, values: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """The mean value of the trials with the same signal, for each trial."""
    _, group = np.unique(signal, return_inverse=True)
    return (np.bincount(group, values) / np.bincount(group))[group]


class Switched(NamedTuple):
    """The mean earnings of a rule that switches to the fallback in trials with an alarm, and of its bounds."""

    score: float
    """Of the rule."""
    never: float
    """Of the method in all trials."""
    always: float
    """Of the fallback in all trials."""
    best: float
    """Of the better of both in each trial, which no rule can beat."""

    @property
    def gain(self) -> float:
        """The earnings beyond the better of never and always switching; below 0 if the rule does harm."""
        return self.score - max(self.never, self.always)

    @property
    def regret(self) -> float:
        """The earnings that the rule lacks to the best of both."""
        return self.best - self.score


def switched(
    alarm: Bool[np.ndarray, " T"],
    method: Float[np.ndarray, " T"],
    fallback: Float[np.ndarray, " T"],
) -> Switched:
    """The earnings of a switch in trials with an alarm, from those of both agents in each trial."""
    return Switched(
        score=float(np.where(alarm, fallback, method).mean()),
        never=float(method.mean()),
        always=float(fallback.mean()),
        best=float(np.maximum(method, fallback).mean()),
    )


def threshold(at_home: Signal, rate: float = 0.05) -> float:
    """The least threshold at which at most ``rate`` of the trials of ``id_val`` have an alarm.

    A trial has an alarm if its signal is above the threshold. No shifted trial is needed.
    """
    return float(np.quantile(at_home, 1 - rate, method="inverted_cdf"))
