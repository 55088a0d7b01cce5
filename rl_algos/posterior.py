"""A posterior over a latent: the product of the prior N(0, I) and of Gaussian factors, one for each transition.

    q(z | context) = N(0, I) * product over transitions of N(mean, 1 / precision)

A product of Gaussians is a Gaussian whose precision and precision * mean are the sums of the factors'. So the order of
transitions does not matter, and two running sums represent a context. Its precision grows with every transition,
whatever these hold; a third sum, of precision * mean^2, tells how far the factors disagree.

Source: Rakelly et al. 2019, arXiv 1903.08254, section 4.1; ``rl_algos/pearl.py`` lists the differences.

Shape letters: D size of the latent, T transitions, n contexts, c beginnings of each.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from rl_algos.soft_actor_critic import Ensemble

_PRECISION = (1e-7, 1e7)
"""Bounds of a factor's precision."""


class Posterior(NamedTuple):
    """Independent normal distributions N(mean, 1 / precision), one for each dimension."""

    mean: Float[Tensor, "*batch D"]
    precision: Float[Tensor, "*batch D"]

    def draw(self, noise: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """A sample z, from standard normal ``noise``."""
        return self.mean + noise * self.precision.rsqrt()

    def divergence(self) -> Float[Tensor, "*batch"]:
        """Kullback-Leibler divergence from N(0, I), in nats."""
        variance = 1 / self.precision
        return 0.5 * (variance + self.mean.square() - 1 - variance.log()).sum(-1)


class Sums(NamedTuple):
    """Sums over factors."""

    precision: Float[Tensor, "*batch D"]
    weighted: Float[Tensor, "*batch D"]
    """Of precision * mean."""
    squared: Float[Tensor, "*batch D"]
    """Of precision * mean^2."""

    def disagreement(self) -> Float[Tensor, "*batch"]:
        """The squared distances of the factors' means from their common mean, in units of their variances, summed over
        factors and dimensions; 0 for one factor or none.

        If n factors were of independent estimates of one latent with the variances that they claim, it would have a
        chi-squared distribution with (n - 1) D degrees of freedom (Cochran's Q).
        """
        mean = self.weighted / self.precision.clamp(min=_PRECISION[0])
        return (self.squared - self.weighted * mean).sum(-1).clamp(min=0)

    def posterior(self) -> Posterior:
        """The product of the prior N(0, I) and the factors."""
        precision = 1 + self.precision
        return Posterior(self.weighted / precision, precision)

    def plus(self, more: Sums) -> Sums:
        """Sums over the factors of both."""
        return Sums(*(a + b for a, b in zip(self, more, strict=True)))

    def total(self, live: Bool[Tensor, "*batch T"]) -> Sums:
        """Sums over the live ones of T factors ``[*batch, T, D]``."""
        return Sums(*(torch.where(live[..., None], part, 0.0).sum(-2) for part in self))

    def beginnings(self, count: Int[Tensor, "n c"]) -> Sums:
        """Sums over the first ``count`` of T factors ``[n, T, D]``, for c counts of each row: ``[n, c, D]``."""
        index = count[..., None].expand(-1, -1, self.precision.shape[-1])
        return Sums(*(pad(part.cumsum(1), (0, 0, 1, 0)).gather(1, index) for part in self))


class Encoder(nn.Module):
    """From a transition to a Gaussian factor.

    Args:
        inputs: number of features of a transition.
        latent: D.
        hidden: units of each of two hidden layers.
    """

    def __init__(self, inputs: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.layers = Ensemble((inputs, hidden, hidden, 2 * latent))
        # precisions start near softplus(-4), about 1 / 50
        self.layers.biases[-1].data[..., latent:] = -4.0

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Sums:
        """The factors, each as sums over itself alone."""
        mean, raw = self.layers(x)[0].chunk(2, -1)
        precision = softplus(raw).clamp(*_PRECISION)
        return Sums(precision, precision * mean, precision * mean.square())
