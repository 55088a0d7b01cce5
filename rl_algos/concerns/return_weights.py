"""Task imbalance, by weights that depend on the scale of each task's returns (Schaul et al. 2021, arXiv 2105.05347).

    scale^2 = V[R] + V[gamma] E[G^2]

R is the reward of a step, gamma its discount (0 at the last step of an episode), and G the discounted return from it. A
policy's gradient grows with the scale of returns, and that of a squared error with its square.

Shape letters: T tasks, t of them whose gradients are combined, n slots of a batch (a task each), E episodes, H steps.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.rng import Rows
from rl_algos.concerns.combining import Combiner

_SLOWEST = 0.01
"""Share of a batch in the running means; those of a task's first hundred batches are larger: one over their number."""


class ReturnScaled(Combiner):
    """Weights 1 / scale^power. A task without a scale (nothing was earned, or never played) has that of the others.

    Deviations: the paper divides the errors of one task; here weights of several are divided by their sum. Means are
    running ones. A time-out counts as an episode's end.

    Args:
        tasks: T.
        gamma: the discount of a step.
        power: 1 for a policy's gradient, 2 for that of squared errors.
    """

    moments: Float[Tensor, "T 5"]
    """Running means of R, R^2, discount, discount^2 and G^2."""
    count: Float[Tensor, " T"]
    """Number of a task's batches so far."""

    def __init__(self, tasks: int, *, gamma: float, power: int) -> None:
        super().__init__()
        self.gamma, self.power = gamma, power
        self.register_buffer("moments", torch.zeros(tasks, 5, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(tasks, dtype=torch.float64))

    def scale(self, task: Int[Tensor, " t"]) -> Float[Tensor, " t"]:
        """Return the scale of tasks' returns, in units of reward."""
        r, r_squared, discount, discount_squared, g_squared = self.moments[task].unbind(1)
        variance = r_squared - r**2 + (discount_squared - discount**2) * g_squared
        return variance.clamp(min=0).sqrt()

    def watch(
        self, task: Int[Tensor, " n"], reward: Float[Tensor, "n E H"], live: Bool[Tensor, "n E H"]
    ) -> None:
        """Take episodes into the running means."""
        reward = torch.where(live, reward.double(), 0.0)
        goes_on = torch.cat([live[..., 1:], torch.zeros_like(live[..., :1])], -1)
        discount = self.gamma * goes_on.double()
        to_go = reward.clone()
        for step in reversed(range(reward.shape[-1] - 1)):
            to_go[..., step] += discount[..., step] * to_go[..., step + 1]
        parts = torch.stack([reward, reward**2, discount, discount**2, to_go**2], -1)
        sums = torch.where(live[..., None], parts, 0.0).sum((1, 2))
        tasks, place = task.unique(return_inverse=True)
        totals = sums.new_zeros(len(tasks), 5).index_add_(0, place, sums)
        steps = sums.new_zeros(len(tasks)).index_add_(0, place, live.sum((1, 2)).double())
        self.count[tasks] += 1
        share = (1 / self.count[tasks]).clamp(min=_SLOWEST)[:, None]
        self.moments[tasks] = self.moments[tasks].lerp(totals / steps[:, None], share)

    def forward(
        self,
        gramian: Float[Tensor, "t t"],
        losses: Float[Tensor, " t"],
        task: Int[Tensor, " t"],
        rng: Rows,
    ) -> Float[Tensor, " t"]:
        scale = self.scale(task)
        known = scale > 0
        usual = scale[known].log().mean().exp() if known.any() else 1.0
        weights = torch.where(known, scale, usual) ** -self.power
        return weights / weights.sum()
