"""Features of observations and actions for networks, and distributions of actions from a network's outputs.

Shape letters: A outputs, D dimensions of a continuous action.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from bridge.protocol import Decision
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete, Space

_LOG_TAU = math.log(2 * math.pi)

Outputs = Float[Tensor, "*batch A"]
"""Outputs of a network, the parameters of a distribution."""
Sides = Float[Tensor, "*batch D"]
"""A number for each side of a box."""

Pair = tuple[Tensor, Tensor]
"""Two numbers for each action, or for each side of a box."""

Distribution = Literal["beta", "clipped_gaussian"]
"""A distribution of actions in a box."""


def width(space: Space) -> int:
    """The number of ``features`` of a value of ``space``."""
    return space.n if isinstance(space, Discrete) else len(space.low)


def features(value: Tensor, space: Space) -> Float[Tensor, "*batch features"]:
    """A one-hot vector (all zeros for the placeholder -1), or a vector scaled to [-1, 1]."""
    if isinstance(space, Discrete):
        return (value[..., None] == torch.arange(space.n, device=value.device)).float()
    low, high = value.new_tensor(space.low), value.new_tensor(space.high)
    return 2 * (value - low) / (high - low) - 1


def nothing_yet(space: Space, rng: Rows) -> Tensor:
    """A placeholder of each row for the value before the first one; its features are all zeros."""
    if isinstance(space, Discrete):
        return torch.full((len(rng),), -1, device=rng.device)
    middle = torch.tensor([space.low, space.high], device=rng.device).mean(0)
    return middle.expand(len(rng), -1).clone()


def uniform(space: Space, rng: Rows) -> Tensor:
    """A value of each row, uniformly from ``space``."""
    if isinstance(space, Discrete):
        return rng.integers(space.n)
    low, high = torch.tensor([space.low, space.high], device=rng.device)
    return low + (high - low) * rng.uniform(len(low))


@runtime_checkable
class Actions(Protocol):
    """A parametric family of distributions over actions; ``out`` is a network's output, ``outputs`` wide."""

    outputs: int

    def decide(self, out: Outputs, rng: Rows | None, temperature: float = 1.0) -> Decision:
        """A draw from the density to the power of 1 / temperature; the mode if that is 0 or ``rng`` is None."""
        ...

    def log_prob_and_entropy(self, out: Outputs, action: Tensor) -> Pair:
        """Log-probability of the whole action and entropy, in nats, of shape ``batch``: summed over dimensions."""
        ...


class Categorical:
    """A categorical distribution; outputs are its logits."""

    def __init__(self, space: Discrete) -> None:
        self.outputs = space.n

    def decide(self, out: Outputs, rng: Rows | None, temperature: float = 1.0) -> Decision:
        if rng is None or not temperature:
            return Decision(out.argmax(-1), logits=out)
        likely = (out - out.amax(-1, keepdim=True)) / temperature
        return Decision(rng.categorical(likely.softmax(-1)), logits=out)

    def log_prob_and_entropy(self, out: Outputs, action: Tensor) -> Pair:
        log_p = out.log_softmax(-1)
        return log_p.gather(-1, action[..., None]).squeeze(-1), -(log_p.exp() * log_p).sum(-1)


class _InBox:
    """Independent distributions of the D sides of a box, of two parameters each; outputs are 2 D numbers."""

    log_sd_range: ClassVar[tuple[float, float]]
    """Bounds of the log standard deviations of a Gaussian."""

    def __init__(self, space: Box) -> None:
        self.outputs = 2 * len(space.low)
        self.space = space
        self.low, self.high = torch.tensor(space.low), torch.tensor(space.high)

    def _bounds(self, out: Tensor) -> tuple[Float[Tensor, " D"], Float[Tensor, " D"]]:
        return self.low.to(out.device), self.high.to(out.device)

    def parameters(self, out: Tensor) -> Pair:
        """Means and log standard deviations of the Gaussians, ``[*batch, D]`` each."""
        mean, log_sd = out.chunk(2, -1)
        return mean, log_sd.clamp(*self.log_sd_range)

    def _tempered(
        self, out: Outputs, rng: Rows | None, temperature: float, dtype: torch.dtype
    ) -> Sides:
        """A draw of each Gaussian with noise of ``dtype``, its variance times ``temperature``; else the means."""
        mean, log_sd = self.parameters(out)
        if rng is None:
            return mean
        return mean + temperature**0.5 * log_sd.exp() * rng.normal(mean.shape[-1], dtype=dtype)


class ScaledBeta(_InBox):
    """A Beta distribution over each side of the box (Chou et al. 2017): draws need no clipping.

    Outputs are 2 D numbers o; the parameters are 1 + softplus(o), so that there is one mode.
    """

    def decide(self, out: Outputs, rng: Rows | None, temperature: float = 1.0) -> Decision:
        a, b = self.parameters(out)
        if rng is None or not temperature:
            # a - 1 and b - 1, computed before adding 1 rounds small differences away
            up, down = softplus(out).chunk(2, -1)
            share = torch.where(up + down > 0, up / (up + down), 0.5)
        else:
            share = rng.beta(1 + (a - 1) / temperature, 1 + (b - 1) / temperature)
        low, high = self._bounds(out)
        return Decision(low + (high - low) * share, params=torch.stack([a, b], -1))

    def log_prob_and_entropy(self, out: Outputs, action: Tensor) -> Pair:
        low, high = self._bounds(out)
        # rounding must not give a draw probability 0
        share = ((action - low) / (high - low)).clamp(1e-6, 1 - 1e-6)
        beta, side = torch.distributions.Beta(*self.parameters(out)), (high - low).log()
        return (beta.log_prob(share) - side).sum(-1), (beta.entropy() + side).sum(-1)

    def parameters(self, out: Tensor) -> Pair:
        """The two parameters of each Beta distribution, ``[*batch, D]`` each."""
        a, b = (1 + softplus(out)).chunk(2, -1)
        return a, b


class ClippedGaussian(_InBox):
    """An independent normal for each side of the box, clipped to it: a bound has the probability of all beyond it.

    With that probability in place of the density at the bound, gradients are unbiased and have less variance (Fujita &
    Maeda 2018, "Clipped Action Policy Gradient"). Outputs are D means and D log standard deviations, both in half
    widths of the box, so that outputs of 0 are centred with a standard deviation of one half width.
    """

    log_sd_range = (-5.0, 1.0)

    def decide(self, out: Outputs, rng: Rows | None, temperature: float = 1.0) -> Decision:
        """The temperature acts before clipping."""
        share = self._tempered(out, rng, temperature, torch.float32)
        low, high = self._bounds(out)
        action = ((low + high) / 2 + (high - low) / 2 * share.float()).clamp(low, high)
        return Decision(action, params=torch.stack(self.parameters(out), -1))

    def log_prob_and_entropy(self, out: Outputs, action: Tensor) -> Pair:
        """The entropy is that of the Gaussian before clipping."""
        mean, log_sd = self.parameters(out)
        low, high = self._bounds(out)
        half, shrink = (high - low) / 2, (-log_sd).exp()
        score = ((action - low) / half - 1 - mean) * shrink
        side = log_sd + half.log() + 0.5 * _LOG_TAU
        beyond = _log_normal_cdf((torch.where(action >= high, mean, -mean) - 1) * shrink)
        clipped = (action >= high) | (action <= low)
        log_prob = torch.where(clipped, beyond, -0.5 * score * score - side)
        return log_prob.sum(-1), (side + 0.5).sum(-1)


class SquashedGaussian(_InBox):
    """The tanh of a Gaussian over each side of the box (Haarnoja et al. 2018): gradients flow through its draws.

    Outputs are D means and D log standard deviations, before the tanh.
    """

    log_sd_range = (-5.0, 2.0)

    def __init__(self, space: Box) -> None:
        super().__init__(space)
        nodes, weights = np.polynomial.hermite_e.hermegauss(32)
        self._nodes = torch.tensor(nodes, dtype=torch.float32)
        self._weights = torch.tensor(weights / math.sqrt(2 * math.pi), dtype=torch.float32)

    def decide(self, out: Outputs, rng: Rows | None, temperature: float = 1.0) -> Decision:
        """The temperature acts before the tanh."""
        inner = self._tempered(out, rng, temperature, out.dtype)
        return Decision(self._into_box(inner), params=torch.stack(self.parameters(out), -1))

    def draw(self, out: Outputs, noise: Sides) -> tuple[Sides, Float[Tensor, "*batch"]]:
        """Actions made of standard normal ``noise``, and their log-densities in the units of the box.

        Gradients flow through both.
        """
        mean, log_sd = self.parameters(out)
        inner = mean + log_sd.exp() * noise
        return self._into_box(inner), self._log_density(noise, log_sd, inner)

    def log_prob_and_entropy(self, out: Outputs, action: Tensor) -> Pair:
        """The entropy is an integral over one dimension at a time, by Gauss-Hermite quadrature."""
        mean, log_sd = self.parameters(out)
        low, high = self._bounds(out)
        edge = 1 - 1e-6  # rounding must not give a draw density 0
        inner = torch.atanh((2 * (action - low) / (high - low) - 1).clamp(-edge, edge))
        log_prob = self._log_density((inner - mean) * (-log_sd).exp(), log_sd, inner)
        nodes, weights = self._nodes.to(out.device), self._weights.to(out.device)
        points = mean[..., None] + log_sd.exp()[..., None] * nodes
        spread = (self._log_slope(points.transpose(-1, -2)).transpose(-1, -2) * weights).sum(-1)
        entropy = 0.5 * (1 + _LOG_TAU) + log_sd + spread
        return log_prob, entropy.sum(-1)

    @property
    def log_half_sides(self) -> float:
        """The entropy in the units of the box minus the entropy relative to the box [-1, 1]."""
        return sum(
            math.log((high - low) / 2)
            for low, high in zip(self.space.low, self.space.high, strict=True)
        )

    def _into_box(self, inner: Sides) -> Sides:
        low, high = self._bounds(inner)
        return low + (high - low) * torch.sigmoid(2 * inner)  # (1 + tanh x) / 2

    def _log_density(self, noise: Tensor, log_sd: Tensor, inner: Tensor) -> Float[Tensor, "*batch"]:
        """Log-density of the action whose value before the tanh is ``inner``, ``noise`` standard deviations off."""
        log_normal = -0.5 * (noise * noise + _LOG_TAU) - log_sd
        return (log_normal - self._log_slope(inner)).sum(-1)

    def _log_slope(self, inner: Sides) -> Sides:
        """Log slope of the map into the box: the side times 2 s(2 x) s(-2 x), s the sigmoid; stable for large |x|."""
        low, high = self._bounds(inner)
        return (2 * (high - low)).log() + 2 * (inner - softplus(2 * inner))


_OVER_BOXES: dict[Distribution, type[ScaledBeta | ClippedGaussian]] = {
    "beta": ScaledBeta,
    "clipped_gaussian": ClippedGaussian,
}


def actions(space: Space, distribution: Distribution = "beta") -> Actions:
    """The distributions of actions in ``space``: categorical if it is discrete, else those named ``distribution``.

    A Beta draws nothing that must be clipped. A clipped Gaussian has log-probabilities that are easily differentiated
    twice, and gives the bounds a probability of their own, so that it can be fitted to actions there, as an oracle's
    often are. A Beta cannot: its density at a bound is zero or infinite.
    """
    return Categorical(space) if isinstance(space, Discrete) else _OVER_BOXES[distribution](space)


def soft_actions(space: Space) -> Categorical | SquashedGaussian:
    """The distributions of actions in ``space`` with reparameterised draws, or expectations without draws."""
    return Categorical(space) if isinstance(space, Discrete) else SquashedGaussian(space)


def _log_normal_cdf(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """As ``torch.special.log_ndtr``, which has no batching rule under ``torch.func.vmap``."""
    below, above = (-x).clamp(min=0) * 0.5**0.5, x.clamp(min=0) * 0.5**0.5
    left = (0.5 * torch.special.erfcx(below)).log() - below * below
    return torch.where(x < 0, left, (-0.5 * torch.erfc(above)).log1p())
