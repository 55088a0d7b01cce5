"""How a network reads a family's observations and actions, and what its outputs mean as a distribution of actions.

Shape letters: A outputs, D dimensions of a continuous action.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from bridge.protocol import Decision
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
_LOG_SD = (-5.0, 1.0)
"""Between which log-standard deviations are clamped."""

Distribution = Literal["beta", "clipped_gaussian"]
"""Over actions in a box."""


def width(space: Discrete | Box) -> int:
    """How many numbers ``features`` gives."""
    return space.n if isinstance(space, Discrete) else len(space.low)


def features(value: Tensor, space: Discrete | Box) -> Float[Tensor, "*batch features"]:
    """A one-hot vector (all zeros for -1: nothing yet), or a vector scaled to [-1, 1]."""
    if isinstance(space, Discrete):
        return (value[..., None] == torch.arange(space.n, device=value.device)).float()
    low, high = value.new_tensor(space.low), value.new_tensor(space.high)
    return 2 * (value - low) / (high - low) - 1


def nothing_yet(space: Discrete | Box, rng: Rows) -> Tensor:
    """An action before the first one, whose features are all zeros."""
    if isinstance(space, Discrete):
        return torch.full((len(rng),), -1, device=rng.device)
    middle = torch.tensor([space.low, space.high], device=rng.device).mean(0)
    return middle.expand(len(rng), -1).clone()


@runtime_checkable
class Actions(Protocol):
    """A family of distributions over actions; ``out`` is a network's output, the last dimension of size ``outputs``."""

    outputs: int

    def decide(
        self, out: Float[Tensor, "B A"], rng: Rows | None, temperature: float = 1.0
    ) -> Decision:
        """A draw from the density to the power of 1 / temperature; the most likely action at 0 or without noise."""
        ...

    def log_prob_and_entropy(
        self, out: Float[Tensor, "*batch A"], action: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both in nats, of shape ``batch``, of a whole action: summed over its dimensions."""
        ...


class Categorical:
    """Outputs are logits."""

    def __init__(self, space: Discrete) -> None:
        self.outputs = space.n

    def decide(
        self, out: Float[Tensor, "B A"], rng: Rows | None, temperature: float = 1.0
    ) -> Decision:
        if rng is None or not temperature:
            return Decision(out.argmax(-1), logits=out)
        likely = (out - out.amax(-1, keepdim=True)) / temperature
        return Decision(rng.categorical(likely.softmax(-1)), logits=out)

    def log_prob_and_entropy(
        self, out: Float[Tensor, "*batch A"], action: Tensor
    ) -> tuple[Tensor, Tensor]:
        log_p = out.log_softmax(-1)
        return log_p.gather(-1, action[..., None]).squeeze(-1), -(log_p.exp() * log_p).sum(-1)


class ScaledBeta:
    """A Beta distribution over each side of the box (Chou et al. 2017): no action is drawn outside and clipped.

    Outputs are 2 D numbers o; the parameters are 1 + softplus(o), so that there is one mode.
    """

    def __init__(self, space: Box) -> None:
        self.outputs = 2 * len(space.low)
        self.low, self.high = torch.tensor(space.low), torch.tensor(space.high)

    def decide(
        self, out: Float[Tensor, "B A"], rng: Rows | None, temperature: float = 1.0
    ) -> Decision:
        a, b = self._parameters(out)
        if rng is None or not temperature:
            up, down = softplus(out).chunk(
                2, -1
            )  # a - 1 and b - 1 before 1 has swallowed what they differ by
            share = torch.where(up + down > 0, up / (up + down), 0.5)
        else:
            share = rng.beta(1 + (a - 1) / temperature, 1 + (b - 1) / temperature)
        low, high = self.low.to(out.device), self.high.to(out.device)
        return Decision(low + (high - low) * share, params=torch.stack([a, b], -1))

    def log_prob_and_entropy(
        self, out: Float[Tensor, "*batch A"], action: Tensor
    ) -> tuple[Tensor, Tensor]:
        low, high = self.low.to(out.device), self.high.to(out.device)
        share = ((action - low) / (high - low)).clamp(
            1e-6, 1 - 1e-6
        )  # rounding must not make a draw impossible
        beta, side = torch.distributions.Beta(*self._parameters(out)), (high - low).log()
        return (beta.log_prob(share) - side).sum(-1), (beta.entropy() + side).sum(-1)

    def _parameters(
        self, out: Tensor
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D"]]:
        a, b = (1 + softplus(out)).chunk(2, -1)
        return a, b


class ClippedGaussian:
    """An independent normal for each side of the box, clipped to it: at a bound lies the probability of all beyond.

    With that probability in place of the density at the bound, gradients lose no term and much variance (Fujita & Maeda
    2018, "Clipped Action Policy Gradient"). Outputs are D means and D log-standard deviations, both in half widths of
    the box, so that outputs of 0 are centred with a standard deviation of one half width.
    """

    def __init__(self, space: Box) -> None:
        self.outputs = 2 * len(space.low)
        self.low, self.high = torch.tensor(space.low), torch.tensor(space.high)

    def decide(
        self, out: Float[Tensor, "B A"], rng: Rows | None, temperature: float = 1.0
    ) -> Decision:
        """Tempered before it is clipped."""
        mean, log_sd = self._parameters(out)
        share = (
            mean
            if rng is None
            else mean + temperature**0.5 * log_sd.exp() * rng.normal(mean.shape[-1])
        )
        low, high = self.low.to(out.device), self.high.to(out.device)
        action = ((low + high) / 2 + (high - low) / 2 * share.float()).clamp(low, high)
        return Decision(action, params=torch.stack([mean, log_sd], -1))

    def log_prob_and_entropy(
        self, out: Float[Tensor, "*batch A"], action: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The entropy is that of the draw before it is clipped."""
        mean, log_sd = self._parameters(out)
        low, high = self.low.to(out.device), self.high.to(out.device)
        half, shrink = (high - low) / 2, (-log_sd).exp()
        score = ((action - low) / half - 1 - mean) * shrink
        side = log_sd + half.log() + _HALF_LOG_TAU
        beyond = _log_normal_cdf((torch.where(action >= high, mean, -mean) - 1) * shrink)
        clipped = (action >= high) | (action <= low)
        return torch.where(clipped, beyond, -0.5 * score * score - side).sum(-1), (side + 0.5).sum(
            -1
        )

    def _parameters(
        self, out: Tensor
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D"]]:
        mean, log_sd = out.chunk(2, -1)
        return mean, log_sd.clamp(*_LOG_SD)


class SquashedGaussian:
    """The tanh of a Gaussian over each side of the box (Haarnoja et al. 2018): gradients flow through its draws.

    Outputs are 2 D numbers: the means, and the logarithms of the standard deviations, held between two bounds.
    """

    LOG_SD = (-5.0, 2.0)
    """Bounds of the logarithm of a standard deviation."""

    def __init__(self, space: Box) -> None:
        self.outputs = 2 * len(space.low)
        self.space = space
        self.low, self.high = torch.tensor(space.low), torch.tensor(space.high)
        nodes, weights = np.polynomial.hermite_e.hermegauss(32)
        self._nodes = torch.tensor(nodes, dtype=torch.float32)
        self._weights = torch.tensor(weights / math.sqrt(2 * math.pi), dtype=torch.float32)

    def decide(
        self, out: Float[Tensor, "B A"], rng: Rows | None, temperature: float = 1.0
    ) -> Decision:
        """Tempered before the tanh."""
        mean, log_sd = self.parameters(out)
        inner = mean
        if rng is not None:
            inner = mean + temperature**0.5 * log_sd.exp() * rng.normal(
                mean.shape[-1], dtype=mean.dtype
            )
        return Decision(self._into_box(inner), params=torch.stack([mean, log_sd], -1))

    def draw(
        self, out: Float[Tensor, "*batch A"], noise: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        """Actions made of standard normal ``noise``, and their log-densities in the units of the box.

        Gradients flow through both.
        """
        mean, log_sd = self.parameters(out)
        inner = mean + log_sd.exp() * noise
        log_normal = -0.5 * (noise * noise + math.log(2 * math.pi)) - log_sd
        return self._into_box(inner), (log_normal - self._log_slope(inner)).sum(-1)

    def log_prob_and_entropy(
        self, out: Float[Tensor, "*batch A"], action: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The entropy is an integral over one dimension at a time, by Gauss-Hermite quadrature."""
        mean, log_sd = self.parameters(out)
        low, high = self.low.to(out.device), self.high.to(out.device)
        edge = 1 - 1e-6  # rounding must not make a draw impossible
        inner = torch.atanh((2 * (action - low) / (high - low) - 1).clamp(-edge, edge))
        noise = (inner - mean) * (-log_sd).exp()
        log_prob = -0.5 * (noise * noise + math.log(2 * math.pi)) - log_sd - self._log_slope(inner)
        nodes, weights = self._nodes.to(out.device), self._weights.to(out.device)
        points = mean[..., None] + log_sd.exp()[..., None] * nodes
        spread = (self._log_slope(points.transpose(-1, -2)).transpose(-1, -2) * weights).sum(-1)
        entropy = 0.5 * (1 + math.log(2 * math.pi)) + log_sd + spread
        return log_prob.sum(-1), entropy.sum(-1)

    def parameters(
        self, out: Tensor
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch D"]]:
        """Means and log standard deviations, before the tanh."""
        mean, log_sd = out.chunk(2, -1)
        return mean, log_sd.clamp(*self.LOG_SD)

    @property
    def log_half_sides(self) -> float:
        """What is added to an entropy relative to the box [-1, 1] to have it in the units of the box."""
        return sum(
            math.log((high - low) / 2)
            for low, high in zip(self.space.low, self.space.high, strict=True)
        )

    def _into_box(self, inner: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        low, high = self.low.to(inner.device), self.high.to(inner.device)
        return low + (high - low) * torch.sigmoid(2 * inner)  # (1 + tanh x) / 2

    def _log_slope(self, inner: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Of the map into the box: the side times 2 s(2 x) s(-2 x), s the sigmoid, without differences of equals."""
        side = (self.high - self.low).to(inner.device)
        return (2 * side).log() + 2 * (inner - softplus(2 * inner))


_OVER_BOXES: dict[Distribution, type[ScaledBeta | ClippedGaussian]] = {
    "beta": ScaledBeta,
    "clipped_gaussian": ClippedGaussian,
}


def actions(space: Discrete | Box, distribution: Distribution = "beta") -> Actions:
    """The distributions that fit a space: over a box those of this name.

    A Beta draws nothing that would have to be clipped. A clipped Gaussian has log-probabilities that are simple to
    differentiate more than once, and gives the bounds a probability of their own: it can be fitted to actions that lie
    there, as those of who does his utmost. A Beta cannot, since its density there is nothing or infinite.
    """
    return Categorical(space) if isinstance(space, Discrete) else _OVER_BOXES[distribution](space)


def soft_actions(space: Discrete | Box) -> Categorical | SquashedGaussian:
    """The distributions that fit a space and have gradients with respect to draws, or expectations without draws."""
    return Categorical(space) if isinstance(space, Discrete) else SquashedGaussian(space)


def _log_normal_cdf(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """As ``torch.special.log_ndtr``, of which there is no batched form under ``torch.func.vmap``."""
    below, above = (-x).clamp(min=0) * 0.5**0.5, x.clamp(min=0) * 0.5**0.5
    left = (0.5 * torch.special.erfcx(below)).log() - below * below
    return torch.where(x < 0, left, (-0.5 * torch.erfc(above)).log1p())
