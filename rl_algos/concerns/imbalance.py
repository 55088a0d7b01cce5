"""Task imbalance: tasks whose gradients are large take the shared weights for themselves.

Shape letters: T tasks, t of them whose gradients are combined.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge.errors import UserError
from bridge.rng import Rows
from rl_algos.concerns.combining import Combiner


class Static(Combiner):
    """Weights that are given, and do not change; the unknown task has their mean.

    Args:
        weights: the weights of the known tasks, joined by ``+``; only their ratios matter.
        known: number of known tasks.

    Raises:
        UserError: they are not as many positive numbers as there are known tasks.
    """

    def __init__(self, weights: str, known: int) -> None:
        super().__init__()
        try:
            given = [float(weight) for weight in weights.split("+")]
        except ValueError:
            given = []
        if len(given) != known or not all(0 < weight < float("inf") for weight in given):
            raise UserError(
                f"weights= needs a positive number for each of the tasks 0 to {known - 1}, joined by +, as in "
                f"{'+'.join(['1'] * known)}; found {weights!r}."
            )
        self.weights = torch.tensor([*given, sum(given) / known], dtype=torch.float64)

    def forward(
        self,
        gramian: Float[Tensor, "t t"],
        losses: Float[Tensor, " t"],
        task: Int[Tensor, " t"],
        rng: Rows,
    ) -> Float[Tensor, " t"]:
        weights = self.weights.to(task.device)[task]
        return weights / weights.sum()


class GradNorm(Combiner):
    """Weights that move until all weighted gradients are equally long (Chen et al. 2018, arXiv 1711.02257).

    Deviation: alpha is 0. Tasks that learn more slowly are not favoured, since the loss of a policy gradient does not
    say how well a task is learned.

    Args:
        tasks: T.
        lr: learning rate of the weights.
    """

    weights: Float[Tensor, " T"]

    def __init__(self, tasks: int, lr: float = 0.025) -> None:
        super().__init__()
        self.lr = lr
        self.register_buffer("weights", torch.ones(tasks, dtype=torch.float64))

    def forward(
        self,
        gramian: Float[Tensor, "t t"],
        losses: Float[Tensor, " t"],
        task: Int[Tensor, " t"],
        rng: Rows,
    ) -> Float[Tensor, " t"]:
        """Return the weights, then take a step of equation 2 on them, renormalised so that they sum to T."""
        weights, norm = self.weights[task], gramian.diagonal().sqrt()
        length = weights * norm
        moved = weights - self.lr * (length - length.mean()).sign() * norm
        moved = moved.clamp(min=1e-3)
        self.weights[task] = moved * (weights.sum() / moved.sum())
        return weights / weights.sum()
