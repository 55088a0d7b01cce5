"""Scores of the signals of one method on one axis of shift, its trials on ``id`` and on all levels together.

Earnings are in units of score: on each split 0 is random play and 1 the oracle. All splits have as many trials.

Shape letters: S training seeds, T trials of all splits, C coverages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bridge.detection import scoring
from bridge.detection.signals import CHEAP, SIGNALS, Kept, available
from bridge.evaluation.stats import Interval, seed_interval
from experiments.studies.histories import Responses

MARGIN = 0.05
"""A trial fails if it scores less than the fallback by this."""
ALARMS = 0.05
"""Share of trials of ``id_val`` that may have an alarm."""


class OfSignal(NamedTuple):
    """The scores of one signal."""

    auroc: Interval
    lead: Interval
    """``auroc`` less that of low returns, paired by training seed."""
    within: Interval
    """The same as ``auroc``, of pairs of trials of one split: a signal that only tells splits apart has 0.5."""
    false_alarms: Interval
    """Share of the other trials with an alarm, if 95% of failures have one."""
    excess_risk: Interval
    """E-AURC of the regret, in units of score."""
    gain: Interval
    """What a switch at the threshold of ``ALARMS`` gains over the better of never and always switching, in units of
    score."""
    lack: Interval
    """What it lacks to the better of both in each trial."""
    curve: Float[np.ndarray, " C"]
    """Mean regret of the trials that are kept, by coverage, in units of score; mean over seeds."""


class Scored(NamedTuple):
    """The scores of a method's signals."""

    failures: Interval
    """The share of trials that fail."""
    shots: int
    """The number of shots from which signals are computed."""
    never: Interval
    """The score without a switch."""
    always: Interval
    """The score of the fallback."""
    best: Interval
    """The score of the better of both in each trial."""
    hindsight: Interval
    """The AUROC of the regret after these shots, which no agent knows."""
    signals: dict[str, OfSignal]


class OnSplit(NamedTuple):
    """Responses on one split."""

    method: Responses
    fallback: Responses
    """The method, if it hands over after those shots."""
    floor: Responses
    """Random play."""


def scored(
    home: Responses,
    fold: Bool[np.ndarray, " N"],
    splits: Sequence[OnSplit],
    *,
    shots: int,
    of_steps: bool,
) -> Scored:
    """Return the scores of all signals that a method has.

    Args:
        home: the method on ``id_val``.
        fold: True for one half of its trials, which share no task with the other one.
        splits: ``id`` and each level.
        shots: the number of shots from which signals are computed.
        of_steps: True if the method's states are changes of weights.
    """
    point = home.shots.index(shots)
    names = available(_kept(home, 0), of_steps=of_steps)
    by_seed = [_of_seed(home, fold, splits, seed, names, point) for seed in range(home.seeds)]
    method, safe, so_far = (
        np.concatenate([regret(split) for split in splits], axis=1)
        for regret in (
            lambda split: _regret(split.method, split.floor),
            lambda split: _regret(split.fallback, split.floor),
            lambda split: _regret(split.method, split.floor, point),
        )
    )
    failed = method > safe + MARGIN
    group = np.repeat(np.arange(len(splits)), [split.method.regret.shape[2] for split in splits])
    switches = [
        scoring.switched(np.zeros(len(m), bool), 1 - m, 1 - s)
        for m, s in zip(method, safe, strict=True)
    ]
    hindsight = [scoring.auroc(known, bad) for known, bad in zip(so_far, failed, strict=True)]
    return Scored(
        failures=_over_seeds(failed.mean(1)),
        shots=shots,
        never=_over_seeds(np.array([s.never for s in switches])),
        always=_over_seeds(np.array([s.always for s in switches])),
        best=_over_seeds(np.array([s.best for s in switches])),
        hindsight=_over_seeds(np.array(hindsight)),
        signals={name: _scores(by_seed, name, method, safe, failed, group) for name in names},
    )


class _Found(NamedTuple):
    """A signal on all trials of one seed, and the threshold of its alarms."""

    signal: scoring.Signal
    threshold: float


def _of_seed(
    home: Responses,
    fold: Bool[np.ndarray, " N"],
    splits: Sequence[OnSplit],
    seed: int,
    names: Sequence[str],
    point: int,
) -> dict[str, _Found]:
    known, trials = _kept(home, seed), [_kept(split.method, seed) for split in splits]
    return {
        name: _Found(
            np.concatenate([SIGNALS[name].read(known, each, point) for each in trials]),
            scoring.threshold(SIGNALS[name].at_home(known, fold, point), ALARMS),
        )
        for name in names
    }


def _kept(found: Responses, seed: int) -> Kept:
    """What signals read of one seed: the policy at the first step of the further episode."""
    state = None if found.state is None else found.state[seed]
    signs = {name: sign[seed] for name, sign in found.signs.items()}
    return Kept(found.earned[seed], state, found.policy[seed, :, :, 0], signs)


def _regret(found: Responses, floor: Responses, point: int = -1) -> Float[np.ndarray, "S T"]:
    """The regret of the scored episode after all shots, or after those of ``point``, in units of score."""
    return found.regret[:, point].astype(np.float64) / float(floor.regret[0, -1].mean())


def _scores(
    by_seed: Sequence[Mapping[str, _Found]],
    name: str,
    method: Float[np.ndarray, "S T"],
    safe: Float[np.ndarray, "S T"],
    failed: Bool[np.ndarray, "S T"],
    group: Int[np.ndarray, " T"],
) -> OfSignal:
    """The scores of the signal of a name. ``group``: the split of each trial."""
    found, cheap = ([seed[each] for seed in by_seed] for each in (name, CHEAP))
    switches = [
        scoring.switched(f.signal > f.threshold, 1 - m, 1 - s)
        for f, m, s in zip(found, method, safe, strict=True)
    ]

    def of_failures(score: Callable[..., float], of: Sequence[_Found], *more: Any) -> np.ndarray:
        return np.array([score(f.signal, bad, *more) for f, bad in zip(of, failed, strict=True)])

    def of_regrets(score: Callable[..., Any]) -> np.ndarray:
        return np.array([score(f.signal, regret) for f, regret in zip(found, method, strict=True)])

    auroc = of_failures(scoring.auroc, found)
    return OfSignal(
        auroc=_over_seeds(auroc),
        lead=_over_seeds(auroc - of_failures(scoring.auroc, cheap)),
        within=_over_seeds(of_failures(scoring.auroc_within, found, group)),
        false_alarms=_over_seeds(of_failures(scoring.false_alarms, found)),
        excess_risk=_over_seeds(of_regrets(scoring.excess_risk)),
        gain=_over_seeds(np.array([switch.gain for switch in switches])),
        lack=_over_seeds(np.array([switch.regret for switch in switches])),
        curve=of_regrets(scoring.risks).mean(0),
    )


def _over_seeds(values: Float[np.ndarray, " S"]) -> Interval:
    """The mean over the seeds that have a number; without ends for a single one."""
    defined = values[~np.isnan(values)]
    if len(defined) > 1:
        return seed_interval(defined)
    mean = float(defined[0]) if len(defined) else np.nan
    return Interval(mean, np.nan, np.nan, len(defined), "none: fewer than two seeds")
