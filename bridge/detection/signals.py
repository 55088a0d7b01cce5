"""Signals that a trial goes wrong, from what is kept of it after each number of shots.

Each signal compares trials with those of ``id_val``, new tasks of the training distribution, after the same number of
shots. It is larger if more is to be feared. No shifted trial is needed.

A posterior variance is no signal: in PEARL's product of Gaussians it shrinks with every transition, whatever it holds.

Shape letters: P numbers of shots, T and N trials, D features of a state, A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import entr

from bridge.detection.scoring import Signal
from bridge.similarity.states import predicted_elsewhere, predicted_from

_SHRINK = 1e-2
"""Share of the mean variance that is added to each variance of states, so that rare directions do not decide alone."""
_SLACK = 0.5
"""Standard deviations by which a shot may disappoint without adding to the CUSUM (Page 1954)."""


class Kept(NamedTuple):
    """Trials of one training seed on one split, after each number of shots from 0 on."""

    earned: Float[np.ndarray, "P T"]
    """Sum of rewards of the shots."""
    state: Float[np.ndarray, "P T D"] | None
    """The state of the memory; None if the method has none."""
    policy: Float[np.ndarray, "P T A"]
    """Distribution of the next action."""
    signs: Mapping[str, Float[np.ndarray, "P T"]] = MappingProxyType({})
    """Signs of what the agent makes of the shots, by name (``bridge/evaluation/policies.py``)."""

    def only(self, trials: Bool[np.ndarray, " T"]) -> Kept:
        """Some of the trials."""
        return Kept(
            self.earned[:, trials],
            None if self.state is None else self.state[:, trials],
            self.policy[:, trials],
            {name: sign[:, trials] for name, sign in self.signs.items()},
        )


def low_return(home: Kept, here: Kept, point: int) -> Signal:
    """Minus what the shots earned: the cheap signal that others have to beat."""
    return -here.earned[point]


def novelty(home: Kept, here: Kept, point: int) -> Signal:
    """The Mahalanobis distance of the state from those of ``id_val``."""
    known, new = _states(home, here, point)
    known = known - (mean := known.mean(0))
    covariance = known.T @ known / len(known)
    ridge = _SHRINK * max(np.trace(covariance) / len(covariance), 1e-12)
    away = new - mean
    scaled = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), away.T).T
    return np.sqrt(np.maximum((away * scaled).sum(1), 0.0))


def surprise(home: Kept, here: Kept, point: int) -> Signal:
    """By how much shots earn less than the state before them foretells on ``id_val``: a CUSUM of standard scores.

    The return of the shots from one number to the next is predicted by a linear map of the state, which is fitted on
    ``id_val``. Standard deviations are those of its errors on trials that it was not fitted on.
    """
    total = np.zeros(here.earned.shape[1])
    for now in range(1, point + 1):
        known, new = _states(home, here, now - 1)
        expected, got = (np.diff(each.earned, axis=0)[now - 1] for each in (home, here))
        errors = expected - predicted_elsewhere(known, expected[:, None])[:, 0]
        foretold = predicted_from(known, expected[:, None], new)[:, 0]
        score = (foretold - got) / max(errors.std(), 1e-12)
        total = np.maximum(0.0, total + score - _SLACK)
    return total


def entropy(home: Kept, here: Kept, point: int) -> Signal:
    """The entropy of the next action, in nats."""
    return entr(here.policy[point]).sum(1)


def step_size(home: Kept, here: Kept, point: int) -> Signal:
    """The length of the change of weights (of methods whose state is that change): steps that are longer than usual."""
    return np.linalg.norm(_states(home, here, point)[1], axis=1)


def misalignment(home: Kept, here: Kept, point: int) -> Signal:
    """Minus the largest cosine of the change of weights with one of ``id_val``: steps in a direction that none had."""
    known, new = (_unit(states) for states in _states(home, here, point))
    return -(new @ known.T).max(1)


def order(home: Kept, here: Kept, point: int) -> Signal:
    """By how much the policy depends on the order of the shots, as total variation; rounding is none of it."""
    return np.round(here.signs["order"][point], 4)


def unlikely(home: Kept, here: Kept, point: int) -> Signal:
    """Minus the log-likelihood of the agent's own actions, in nats: it did what it does not usually do."""
    return -here.signs["likelihood"][point]


def misfit(home: Kept, here: Kept, point: int) -> Signal:
    """The agent's own measure of how badly the shots fit what it has learned: factors of PEARL that disagree, held-out
    losses of gradient steps."""
    return here.signs["misfit"][point]


def _unit(states: Float[np.ndarray, "T D"]) -> Float[np.ndarray, "T D"]:
    return states / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-12)


def _states(
    home: Kept, here: Kept, point: int
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, "T D"]]:
    """The states of ``id_val`` and of the trials, in float64."""
    assert home.state is not None
    assert here.state is not None
    return home.state[point].astype(np.float64), here.state[point].astype(np.float64)


class Reader(NamedTuple):
    """The function that computes a signal, and its needs."""

    read: Callable[[Kept, Kept, int], Signal]
    """Arguments: trials of ``id_val``, the trials, and the place of the number of shots."""
    needs: str = ""
    """``state``, ``steps`` (states that are changes of weights), the name of a sign, or nothing."""

    def at_home(self, home: Kept, fold: Bool[np.ndarray, " T"], point: int) -> Signal:
        """The signal on ``id_val`` itself, each fold of its trials beside the other one."""
        found = np.empty(len(fold))
        for some in (fold, ~fold):
            found[some] = self.read(home.only(~some), home.only(some), point)
        return found


SIGNALS: dict[str, Reader] = {
    "low return": Reader(low_return),
    "novelty": Reader(novelty, "state"),
    "surprise": Reader(surprise, "state"),
    "entropy": Reader(entropy),
    "step size": Reader(step_size, "steps"),
    "misalignment": Reader(misalignment, "steps"),
    "order": Reader(order, "order"),
    "unlikely": Reader(unlikely, "likelihood"),
    "misfit": Reader(misfit, "misfit"),
}
"""Signals by name."""
CHEAP = "low return"
"""The one that others have to beat."""


def available(home: Kept, *, of_steps: bool) -> list[str]:
    """The names of the signals of a method; ``of_steps``: its states are changes of weights."""
    states = () if home.state is None else ("state", "steps") if of_steps else ("state",)
    has = {"", *states, *home.signs}
    return [name for name, signal in SIGNALS.items() if signal.needs in has]
