"""Statistics of arms: counts of outcomes, moments of rewards, and the predictive distribution of an arm's next reward.

An exact agent for 0/1 rewards can only count outcomes of its model. So a reward counts as the *nearest outcome of the
model*: with outcomes 0 and 1, a reward of 0.3 counts as 0 and one of 10 as 1. This defines how ``bayes_train`` plays
under shifts that its prior excludes.

Shape letters: B trials, k arms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from bridge.protocol import Card, Clues, Step, Trial
from bridge.references.base import Reference, filled
from bridge.rng import Rows
from bridge.tasks.bandit import ArmPrior, PerArm

_NODES = 512
"""Gauss-Legendre nodes: exact for the polynomials that up to 1,023 pulls make."""


class Counts(NamedTuple):
    """Outcomes of each arm, and the sign of this task's rewards (0: unknown)."""

    wins: PerArm
    losses: PerArm
    sign: Int[Tensor, " B"]

    @property
    def pulls(self) -> PerArm:
        """The number of pulls of each arm."""
        return self.wins + self.losses


class CountingReference(Reference):
    """A reference whose memory is ``Counts``."""

    def __init__(self, k: int, prior: ArmPrior, card: Card) -> None:
        self.k, self.prior, self.card = k, prior, card

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Counts:
        """No outcomes; the sign is known if the prior is certain of it."""
        sign = {0.0: 1, 1.0: -1}.get(self.prior.flipped, 0)
        return Counts(filled(rng, 0.0, self.k), filled(rng, 0.0, self.k), filled(rng, sign))

    def learn(self, memory: Counts, step: Step) -> Counts:
        """Count a reward as the nearest of {0, scale}, or of {0, +-scale} if tasks may be negated."""
        outcome = step.reward / self.prior.scale
        won = outcome.abs() > 0.5 if self.prior.flipped else outcome > 0.5
        sign = memory.sign
        if 0 < self.prior.flipped < 1:
            sign = torch.where(won, outcome.sign().to(torch.int64), sign)
        arm, hit = step.action[:, None], won.to(memory.wins.dtype)[:, None]
        wins = memory.wins.scatter_add(1, arm, hit)
        return Counts(wins, memory.losses.scatter_add(1, arm, 1 - hit), sign)

    def sign(self, memory: Counts) -> Int[Tensor, " B"]:
        """The sign of each task's rewards; while it is unknown, the likelier one."""
        return torch.where(memory.sign == 0, -1 if self.prior.flipped > 0.5 else 1, memory.sign)


def predictive(prior: ArmPrior, most: int) -> np.ndarray:
    """P(the next outcome is a win | s wins, f losses) for one arm, ``[most+1, most+1]`` (rows s, columns f), float64.

    With ``gap = 1`` this is the mean of Beta(1+s, 1+tilt+f). Otherwise the moments of the arm's mean are integrated by
    Gauss-Legendre quadrature, which is exact for these polynomials (no axis shifts both a tilt and a gap).
    """
    s, f = np.arange(most + 1.0)[:, None], np.arange(most + 1.0)[None, :]
    if prior.gap == 1:
        return (1 + s) / (2 + prior.tilt + s + f)
    if prior.tilt:
        raise NotImplementedError("A prior with a tilt and a gap at once has no closed form here.")
    x, w = np.polynomial.legendre.leggauss(_NODES)
    mean = 0.5 + prior.gap * x / 2
    log_win, log_loss, log_w = np.log(mean), np.log1p(-mean), np.log(w)
    table = np.empty((most + 1, most + 1))
    for wins in range(most + 1):
        log_like = wins * log_win + log_w + np.arange(most + 1.0)[:, None] * log_loss  # [f, node]
        weight = np.exp(log_like - log_like.max(-1, keepdims=True))
        table[wins] = weight @ mean / weight.sum(-1)
    return table


class Moments(NamedTuple):
    """Numbers of pulls and sums of real-valued rewards."""

    pulls: PerArm
    total: PerArm


class MomentsReference(Reference):
    """A reference whose memory is ``Moments``."""

    def __init__(self, k: int, card: Card) -> None:
        self.k, self.card = k, card

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Moments:
        """No pulls."""
        return Moments(filled(rng, 0.0, self.k), filled(rng, 0.0, self.k))

    def learn(self, memory: Moments, step: Step) -> Moments:
        """Add one reward to its arm."""
        arm, one = step.action[:, None], torch.ones_like(step.reward)[:, None]
        total = memory.total.scatter_add(1, arm, step.reward[:, None])
        return Moments(memory.pulls.scatter_add(1, arm, one), total)


def gaussian_posterior(
    memory: Moments, mean: float, variance: float, sd: float
) -> tuple[Tensor, Tensor]:
    """Posterior mean and variance of each arm, ``[B, k]`` each: normal prior, normal rewards of known ``sd > 0``."""
    precision = 1 / variance + memory.pulls / sd**2
    return (mean / variance + memory.total / sd**2) / precision, 1 / precision
