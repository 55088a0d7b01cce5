"""Scores of the signals of one method on one axis of shift, its trials on ``id`` and on all levels together.

Shape letters: S training seeds, T trials of all splits, C coverages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from bridge.detection import scoring
from bridge.detection.signals import CHEAP, SIGNALS, Kept, available
from bridge.evaluation.stats import Interval, seed_interval
from experiments.studies.histories import Responses

MARGIN = 0.05
"""A trial fails if its regret is larger than that of the fallback by this share of the regret of random play."""
ALARMS = 0.05
"""Share of trials of training tasks that may have an alarm."""


class OfSignal(NamedTuple):
    """The scores of one signal."""

    auroc: Interval
    lead: Interval
    """``auroc`` less that of low returns, paired by training seed."""
    false_alarms: Interval
    """Share of the other trials with an alarm, if 95% of failures have one."""
    excess_risk: Interval
    """E-AURC of the regret, in units of that of random play."""
    gain: Interval
    """What a switch at the threshold of ``ALARMS`` gains over the better of never and always switching, in units of
    score."""
    lack: Interval
    """What it lacks to the better of both in each trial."""
    curve: Float[np.ndarray, " C"]
    """Mean regret of the trials that are kept, by coverage, in units of that of random play; mean over seeds."""


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
    signals: dict[str, OfSignal]


def scored(
    home: Responses,
    trials: Sequence[Responses],
    fallback: Sequence[Responses],
    *,
    floor: Responses,
    shots: int,
    of_steps: bool,
) -> Scored:
    """Return the scores of all signals that a method has.

    Args:
        home: the method on ``id_val``.
        trials: the method on ``id`` and on each level.
        fallback: the method on the same splits, if it hands over after half of the shots.
        floor: random play on ``id_val``.
        shots: the number of shots from which signals are computed.
        of_steps: True if the method's states are changes of weights.
    """
    point = home.shots.index(shots)
    unit = float(floor.regret[0, -1].mean())
    names = available(_kept(home, 0), of_steps=of_steps)
    by_seed = [
        _of_seed(_kept(home, seed), [_kept(t, seed) for t in trials], names, point)
        for seed in range(home.seeds)
    ]
    method = _joined(trials) / unit
    safe = _joined(fallback) / unit
    failed = method > safe + MARGIN
    switches = [
        scoring.switched(np.zeros(len(m), bool), 1 - m, 1 - s)
        for m, s in zip(method, safe, strict=True)
    ]
    return Scored(
        failures=_over_seeds(failed.mean(1)),
        shots=shots,
        never=_over_seeds(np.array([s.never for s in switches])),
        always=_over_seeds(np.array([s.always for s in switches])),
        best=_over_seeds(np.array([s.best for s in switches])),
        signals={name: _scores(by_seed, name, method, safe, failed) for name in names},
    )


class _Found(NamedTuple):
    """A signal on all trials of one seed, and the threshold of its alarms."""

    signal: scoring.Signal
    threshold: float


def _of_seed(
    home: Kept, trials: Sequence[Kept], names: Sequence[str], point: int
) -> dict[str, _Found]:
    return {
        name: _Found(
            np.concatenate([SIGNALS[name].read(home, each, point) for each in trials]),
            scoring.threshold(SIGNALS[name].read(home, home, point), ALARMS),
        )
        for name in names
    }


def _kept(found: Responses, seed: int) -> Kept:
    """What signals read of one seed: the policy at the first step of the further episode."""
    state = None if found.state is None else found.state[seed]
    signs = {name: sign[seed] for name, sign in found.signs.items()}
    return Kept(found.earned[seed], state, found.policy[seed, :, :, 0], signs)


def _joined(splits: Sequence[Responses]) -> Float[np.ndarray, "S T"]:
    """The regret of the scored episode after all shots, on all splits one after another."""
    return np.concatenate([found.regret[:, -1] for found in splits], axis=1).astype(np.float64)


def _scores(
    by_seed: Sequence[Mapping[str, _Found]],
    name: str,
    method: Float[np.ndarray, "S T"],
    safe: Float[np.ndarray, "S T"],
    failed: Bool[np.ndarray, "S T"],
) -> OfSignal:
    """The scores of the signal of a name."""
    found, cheap = ([seed[each] for seed in by_seed] for each in (name, CHEAP))
    switches = [
        scoring.switched(f.signal > f.threshold, 1 - m, 1 - s)
        for f, m, s in zip(found, method, safe, strict=True)
    ]

    def of_failures(score: Callable[..., float], of: Sequence[_Found]) -> np.ndarray:
        return np.array([score(f.signal, bad) for f, bad in zip(of, failed, strict=True)])

    def of_regrets(score: Callable[..., Any]) -> np.ndarray:
        return np.array([score(f.signal, regret) for f, regret in zip(found, method, strict=True)])

    auroc = of_failures(scoring.auroc, found)
    return OfSignal(
        auroc=_over_seeds(auroc),
        lead=_over_seeds(auroc - of_failures(scoring.auroc, cheap)),
        false_alarms=_over_seeds(of_failures(scoring.false_alarms, found)),
        excess_risk=_over_seeds(of_regrets(scoring.excess_risk)),
        gain=_over_seeds(np.array([switch.gain for switch in switches])),
        lack=_over_seeds(np.array([switch.regret for switch in switches])),
        curve=of_regrets(scoring.risks).mean(0),
    )


def _over_seeds(values: Float[np.ndarray, " S"]) -> Interval:
    """The mean over seeds; without ends for one seed, and NaN if a seed has no number."""
    if len(values) > 1 and not np.isnan(values).any():
        return seed_interval(values)
    return Interval(
        float(values.mean()), np.nan, np.nan, len(values), "none: one seed, or not defined"
    )
