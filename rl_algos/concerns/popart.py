"""Task imbalance, by the unit of values: PopArt lets critics predict standard scores, whatever a task's rewards are.

A task's values are mean + scale x output, where mean and scale are those of its targets so far. When these move, the
task's output layers are rewritten, so that its values stay as they are: outputs are preserved precisely while targets
are rescaled adaptively (van Hasselt et al. 2016, arXiv 1602.07714; a mean and a scale of each task: Hessel et al. 2019,
arXiv 1809.04474).

Deviation: the scale has no lower bound that is a unit itself (Hessel: 1e-4). It is 0 until a task's targets differ, and
then values are the mean, whatever the network says. So the first targets are rewards alone, and a training with rewards
a thousand times as large is the same training.

Shape letters: T tasks, n slots of a batch (a task each), t tasks among them, b transitions of each, I inputs of an
output layer, O outputs, Q networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bridge.maths.optimizers import along

_ROUNDING = 1e-6
"""Targets whose standard deviation is a smaller share of their mean do not differ but by rounding."""


Statistics = tuple[Float[Tensor, " n"], Float[Tensor, " n"]]
"""Mean and scale of some tasks' values, in float64."""
Layers = Iterable[tuple[Tensor, Tensor]]
"""Output layers: the weights ``[T, Q, I, O]`` and biases ``[T, Q, 1, O]`` of every task."""


class Unscaled(nn.Module):
    """Values are the networks' outputs: their mean is 0 and their scale 1, whatever the targets."""

    def statistics(self, task: Int[Tensor, " n"]) -> Statistics:
        """Return mean and scale of tasks, in units of reward."""
        zero = torch.zeros(len(task), dtype=torch.float64, device=task.device)
        return zero, zero + 1

    def update(
        self, targets: Float[Tensor, "n b"], task: Int[Tensor, " n"], layers: Layers
    ) -> None:
        """Take targets into the statistics, and rewrite the tasks' output layers in place so that no value changes.

        Args:
            targets: in units of reward.
            task: the task of each slot.
            layers: those of all networks that predict values.
        """

    def normalised(
        self, targets: Float[Tensor, "n b"], task: Int[Tensor, " n"]
    ) -> Float[Tensor, "n b"]:
        """Return targets in units of the networks' outputs."""
        return targets


class PopArt(Unscaled):
    """Running mean and scale of each task's targets.

    Args:
        tasks: T.
        step: share of a batch in the running statistics (Hessel: 3e-4); that of the first batches is larger, so that
            the statistics are those of all targets at the start (van Hasselt, section 2.1).
    """

    mean: Float[Tensor, " T"]
    variance: Float[Tensor, " T"]
    count: Float[Tensor, " T"]
    """Number of a task's batches so far."""

    def __init__(self, tasks: int, step: float = 3e-4) -> None:
        super().__init__()
        self.step = step
        for name in ("mean", "variance", "count"):
            self.register_buffer(name, torch.zeros(tasks, dtype=torch.float64))

    def statistics(self, task: Int[Tensor, " n"]) -> Statistics:
        """As ``Unscaled``; the scale is 0 until targets differ."""
        mean, scale = self.mean[task], self.variance[task].sqrt()
        return mean, torch.where(scale > _ROUNDING * mean.abs(), scale, 0.0)

    @torch.no_grad()
    def update(
        self, targets: Float[Tensor, "n b"], task: Int[Tensor, " n"], layers: Layers
    ) -> None:
        """As ``Unscaled``; slots with a target that is not finite are ignored."""
        finite = targets.isfinite().all(1)
        targets, task = targets[finite].double(), task[finite]
        tasks, place, slots = task.unique(return_inverse=True, return_counts=True)

        def by_task(values: Float[Tensor, "n b"]) -> Float[Tensor, " t"]:
            return values.new_zeros(len(tasks)).index_add_(0, place, values.mean(1)) / slots

        before = self.statistics(tasks)
        self.count[tasks] += 1
        counted = -torch.expm1(self.count[tasks] * math.log1p(-self.step))
        step = (self.step / counted).clamp(max=1.0)
        moved = step * (by_task(targets) - self.mean[tasks])
        self.mean[tasks] += moved
        spread = by_task((targets - self.mean[task][:, None]).square())
        self.variance[tasks] = (1 - step) * (self.variance[tasks] + moved**2) + step * spread
        _rewrite(layers, tasks, before, self.statistics(tasks))

    def normalised(
        self, targets: Float[Tensor, "n b"], task: Int[Tensor, " n"]
    ) -> Float[Tensor, "n b"]:
        """As ``Unscaled``; 0 until targets differ."""
        mean, scale = self.statistics(task)
        unit = torch.where(scale > 0, scale, torch.inf)
        return ((targets - mean[:, None]) / unit[:, None]).to(targets)


def _rewrite(
    layers: Layers, tasks: Int[Tensor, " t"], before: Statistics, after: Statistics
) -> None:
    """Rewrite tasks' output layers (van Hasselt, proposition 1); those of a task without a scale stay as they are."""
    (old_mean, old_scale), (mean, scale) = before, after
    scaled = (old_scale > 0) & (scale > 0)
    ratio = torch.where(scaled, old_scale / scale, 1.0)
    shift = torch.where(scaled, (old_mean - mean) / scale, 0.0)
    for weight, bias in layers:
        weight[tasks] = (along(weight, ratio) * weight[tasks]).to(weight)
        bias[tasks] = (along(bias, ratio) * bias[tasks] + along(bias, shift)).to(bias)
