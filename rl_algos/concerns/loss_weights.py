"""Task imbalance, by weights that depend on the tasks' losses; these must be errors, as those of critics are.

A policy's loss is none: it is not 0 at best, and its size and sign do not say how well a task is learned.

torchjd (0.18) has both rules for batches that hold every task; its ``state_dict`` lacks the history of ``DWA``. Here a
batch may lack tasks, and all that a rule remembers is saved with a training.

Shape letters: T tasks, t of them whose gradients are combined.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge.rng import Rows
from rl_algos.concerns.combining import Combiner


class Uncertainty(Combiner):
    """Weights 1 / variance; each task's variance of errors is learned (Kendall et al. 2018, arXiv 1705.07115).

    A squared error L is the size of normal noise, whose log-variance s minimises exp(-s) L / 2 + s / 2 (equation 7). If
    losses stay, weights end at 1 / L.

    Deviations:
     1. A step on s is at most lr / 2 long: the gradient of a loss of thousands would send its weight to 0 at once.
     2. Weights are divided by their sum, as those of all combiners are.

    Args:
        tasks: T.
        lr: learning rate of the log-variances.
    """

    log_variance: Float[Tensor, " T"]

    def __init__(self, tasks: int, lr: float = 0.025) -> None:
        super().__init__()
        self.lr = lr
        self.register_buffer("log_variance", torch.zeros(tasks, dtype=torch.float64))

    def forward(
        self,
        gramian: Float[Tensor, "t t"],
        losses: Float[Tensor, " t"],
        task: Int[Tensor, " t"],
        rng: Rows,
    ) -> Float[Tensor, " t"]:
        """Return the weights, then take a gradient step on the log-variances."""
        s = self.log_variance[task]
        gradient = (1 - (-s).exp() * losses) / 2
        self.log_variance[task] = s - self.lr * gradient.clamp(min=-0.5)
        return torch.softmax(-s, 0)


class DynamicAverage(Combiner):
    """Larger weights for losses that fall more slowly: dynamic weight average (Liu et al. 2019, arXiv 1803.10704).

    A task's weight is the softmax of its ratio over a temperature (equation 7), where the ratio is that of its mean
    loss in the last epoch to the one before, and 1 before two epochs have ended. The size of losses has no influence.

    Deviation: data of RL have no epochs. Here an epoch is a number of gradient steps that the task takes part in.

    Args:
        tasks: T.
        epoch: gradient steps of an epoch.
        temperature: the larger, the more equal the weights; the paper's is 2.
    """

    total: Float[Tensor, " T"]
    """Sum of losses in the present epoch."""
    count: Float[Tensor, " T"]
    """Number of these losses."""
    last: Float[Tensor, " T"]
    """Mean loss of the last epoch that ended; 0 if none has."""
    before: Float[Tensor, " T"]
    """That of the epoch before."""

    def __init__(self, tasks: int, epoch: int = 100, temperature: float = 2.0) -> None:
        super().__init__()
        self.epoch, self.temperature = epoch, temperature
        for name in ("total", "count", "last", "before"):
            self.register_buffer(name, torch.zeros(tasks, dtype=torch.float64))

    def forward(
        self,
        gramian: Float[Tensor, "t t"],
        losses: Float[Tensor, " t"],
        task: Int[Tensor, " t"],
        rng: Rows,
    ) -> Float[Tensor, " t"]:
        """Return the weights, then remember the losses."""
        last, before = self.last[task], self.before[task]
        ratio = torch.where(before > 0, last / before, 1.0)
        self.total[task] += losses
        self.count[task] += 1
        ended = self.count == self.epoch
        self.before[ended] = self.last[ended]
        self.last[ended] = self.total[ended] / self.epoch
        self.total[ended] = self.count[ended] = 0.0
        return torch.softmax(ratio / self.temperature, 0)
