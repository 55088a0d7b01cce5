"""What a reference knows about arms: counts, how a reward is read, and the predictive law of an arm's next reward.

An exact agent for 0/1 rewards can only count outcomes that its model can produce. So a reward is read as the *nearest
outcome of the model*: an agent whose model pays 0 or 1 reads 0.3 as 0 and 10 as 1. That is how ``bayes_train`` meets a
shift that its prior excludes.

Shape letters: B trials, k arms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge import memory as tree
from bridge.protocol import Step
from bridge.tasks.bandit import ArmPrior

_NODES = 512
"""Gauss-Legendre nodes: exact for the polynomials that up to 1,023 pulls make."""


class Counts(NamedTuple):
    """Outcomes of each arm, and the sign with which this task pays (0: not yet seen)."""

    wins: Float[Tensor, "B k"]
    losses: Float[Tensor, "B k"]
    sign: Int[Tensor, " B"]

    @property
    def pulls(self) -> Float[Tensor, "B k"]:
        """How often each arm was pulled."""
        return self.wins + self.losses


def no_counts(rows: int, k: int, prior: ArmPrior, device: torch.device) -> Counts:
    """Nothing seen yet; a sign that the prior is sure of is known from the start."""
    sign = {0.0: 1, 1.0: -1}.get(prior.flipped, 0)
    zeros = torch.zeros(rows, k, device=device)
    return Counts(zeros, zeros.clone(), torch.full((rows,), sign, device=device))


def count(memory: Counts, step: Step, prior: ArmPrior) -> Counts:
    """Read one reward as the nearest of {0, scale} (or {0, +-scale} where tasks may be negated) and count it."""
    outcome = step.reward / prior.scale
    won = outcome.abs() > 0.5 if prior.flipped else outcome > 0.5
    sign = memory.sign
    if 0 < prior.flipped < 1:
        sign = torch.where(won, outcome.sign().to(torch.int64), sign)
    arm = step.action[:, None]
    hit = won.to(memory.wins.dtype)[:, None]
    counted = Counts(
        memory.wins.scatter_add(1, arm, hit), memory.losses.scatter_add(1, arm, 1 - hit), sign
    )
    return tree.where(step.live, counted, memory)


def predictive(prior: ArmPrior, most: int) -> np.ndarray:
    """P(the next outcome is a win | s wins, f losses) for one arm, ``[most+1, most+1]`` (rows s, columns f), float64.

    With ``gap = 1`` this is the mean of Beta(1+s, 1+tilt+f). Otherwise the moments of the squeezed mean are
    integrated by Gauss-Legendre quadrature, which is exact for these polynomials (a tilt and a gap are never shifted
    together).
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
    """Sums of real-valued rewards, for arms with Gaussian rewards."""

    pulls: Float[Tensor, "B k"]
    total: Float[Tensor, "B k"]


def no_moments(rows: int, k: int, device: torch.device) -> Moments:
    """Nothing seen yet."""
    zeros = torch.zeros(rows, k, device=device)
    return Moments(zeros, zeros.clone())


def add_moment(memory: Moments, step: Step) -> Moments:
    """Add one reward to its arm."""
    arm, one = step.action[:, None], torch.ones_like(step.reward)[:, None]
    added = Moments(
        memory.pulls.scatter_add(1, arm, one),
        memory.total.scatter_add(1, arm, step.reward[:, None]),
    )
    return tree.where(step.live, added, memory)
