"""One gradient for the weights that tasks share, from the gradient of each task.

A combiner returns a weight for each task, and the gradient is the weighted sum of the tasks' gradients. This covers
weighted losses, whose weights may depend on the losses, and gradient surgery: what PCGrad or CAGrad return is such a
sum, too, and its weights depend on the inner products of gradients alone. Weights that a task owns follow its own
gradient, which nothing is combined with.

Whatever the combiner:

1. A task whose gradient is zero, or whose gradient or loss is not finite, is left out: the others are combined as if it
   were not there. (MGDA and CAGrad return zero if one gradient is zero, and every combiner NaN if one is NaN.)
2. Gradients are divided by their root mean square norm before. (The regularisation of torchjd's solvers is absolute:
   below a norm of 0.01, UPGrad is the mean, and CAGrad zero.)
3. Weights are on the scale of a mean, so that combiners differ in direction and not in learning rate.
4. A combiner that finds no weights (a solver that fails returns NaN or zeros) is replaced by the mean for that step.

Shape letters: N slots of a batch, T tasks, t of them that are not left out, P numbers of the shared weights; n slots of
what was played, E episodes of each, H steps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bridge.maths.optimizers import along
from bridge.rng import Rows
from rl_algos.per_task import Parameters
from rl_algos.task_table import TaskTable


class Combiner(nn.Module):
    """A rule for the weights of tasks' gradients. Its state, if it has one, is saved with a training."""

    def watch(
        self, task: Int[Tensor, " n"], reward: Float[Tensor, "n E H"], live: Bool[Tensor, "n E H"]
    ) -> None:
        """See the episodes that were played; most rules do not look.

        Args:
            task: the task of each slot.
            reward: of each step.
            live: True at steps that were played.
        """

    def forward(
        self,
        gramian: Float[Tensor, "t t"],
        losses: Float[Tensor, " t"],
        task: Int[Tensor, " t"],
        rng: Rows,
    ) -> Float[Tensor, " t"]:
        """Return the weights of tasks.

        Args:
            gramian: inner products of gradients, in float64; its diagonal has a mean of 1.
            losses: the tasks' losses, in float64, as they are.
            task: the tasks' numbers.
            rng: noise of each of these tasks.
        """
        raise NotImplementedError


class Equal(Combiner):
    """The mean of the gradients."""

    def forward(
        self,
        gramian: Float[Tensor, "t t"],
        losses: Float[Tensor, " t"],
        task: Int[Tensor, " t"],
        rng: Rows,
    ) -> Float[Tensor, " t"]:
        return gramian.new_full((len(gramian),), 1 / len(gramian))


class Combined(NamedTuple):
    """One gradient, and what it was made of."""

    gradient: Float[Tensor, " P"]
    weights: Float[Tensor, " T"]
    """The gradient is the sum of the tasks' gradients with these weights, which are 0 for tasks that are left out."""
    usable: Bool[Tensor, " T"]
    """False for tasks that are left out."""
    conflicts: float
    """Share of the pairs of usable tasks whose gradients have a negative cosine; 0 without pairs."""
    cosine: float
    """Mean cosine of these pairs; 0 without pairs."""
    failed: bool = False
    """True if the combiner found no weights, so that the gradient is the mean."""


@torch.no_grad()
def combine(
    gradients: Float[Tensor, "T P"],
    losses: Float[Tensor, " T"],
    task: Int[Tensor, " T"],
    combiner: Combiner,
    rng: Rows,
) -> Combined:
    """Combine the gradients of T tasks.

    Args:
        gradients: a row a task.
        losses: whose gradients they are.
        task: the tasks' numbers.
        combiner: the weights.
        rng: noise of each task.
    """
    norm = gradients.double().norm(dim=1)
    usable = norm.isfinite() & (norm > 0) & losses.isfinite()
    weights = torch.zeros_like(norm)
    if not usable.any():
        return Combined(torch.zeros_like(gradients[0]), weights.float(), usable, 0.0, 0.0)
    rows = gradients[usable].double() / norm[usable].square().mean().sqrt()
    gramian = rows @ rows.T
    share = len(rows) / len(norm)
    given = gramian, losses[usable].double(), task[usable], rng[usable]
    found = combiner(*given).to(norm)
    if failed := not (found.isfinite().all() and found.any()):
        found = Equal()(*given)
    weights[usable] = share * found
    gradient = weights[usable].to(gradients) @ gradients[usable]
    return Combined(gradient, weights.float(), usable, *_conflicts(gramian), failed)


def _conflicts(gramian: Float[Tensor, "t t"]) -> tuple[float, float]:
    """The share of pairs with a negative cosine, and the mean cosine."""
    length = gramian.diagonal().sqrt()
    cosine = gramian / (length[:, None] * length)
    pairs = cosine[torch.ones_like(cosine, dtype=torch.bool).triu(1)]
    if not len(pairs):
        return 0.0, 0.0
    return (pairs < 0).double().mean().item(), pairs.mean().item()


def backward(
    losses: Float[Tensor, " N"],
    copies: Parameters,
    table: TaskTable,
    task: Int[Tensor, " N"],
    combiner: Combiner,
    rng: Rows,
) -> Combined | None:
    """Set the gradients of the parameters of ``table`` that have copies; equal to ``losses.mean().backward()`` if all
    tasks have equal weights. The graph of the losses stays. Returns None if tasks own all of the parameters.

    All slots count equally, so that a task with more of them has a longer gradient. A slot whose gradient is not finite
    moves nothing that its task owns.

    Args:
        losses: a loss a slot, each of which depends on its own slot's copies alone.
        copies: ``table.copies(task)``, or some of them.
        table: shared and owned parameters.
        task: the task of each slot.
        combiner: the weights of tasks.
        rng: noise of each row of the table.
    """
    found = torch.autograd.grad(losses.sum(), list(copies.values()), retain_graph=True)
    gradients = dict(zip(copies, found, strict=True))
    shared = [name for name in copies if name not in table.names]
    for name in copies.keys() - set(shared):
        _follow(table.parameter(name), gradients[name] / len(task), task)
    if not shared:
        return None
    rows = torch.cat([gradients[name].flatten(1) for name in shared], 1)
    tasks, place, slots = task.unique(return_inverse=True, return_counts=True)
    by_task = rows.new_zeros(len(tasks), rows.shape[1])
    by_task.index_add_(0, place, rows * (len(tasks) / len(task)))
    task_losses = losses.new_zeros(len(tasks)).index_add_(0, place, losses.detach()) / slots
    combined = combine(by_task, task_losses, tasks, combiner, rng[tasks])
    sizes = [gradients[name][0].numel() for name in shared]
    for name, part in zip(shared, combined.gradient.split(sizes), strict=True):
        table.parameter(name).grad = part.view_as(table.parameter(name)).clone()
    return combined


def _follow(
    owned: nn.Parameter, gradient: Float[Tensor, "N *size"], task: Int[Tensor, " N"]
) -> None:
    """Set the gradient of a parameter that tasks own: the sum over each task's slots, without those not finite."""
    finite = along(gradient, gradient.flatten(1).isfinite().all(1))
    owned.grad = torch.zeros_like(owned).index_add_(0, task, torch.where(finite, gradient, 0.0))


def metrics(combined: Combined | None, prefix: str = "") -> dict[str, float]:
    """The entries of a combination in the log: ``conflicts``, ``cosine`` and ``failed`` (0 or 1), after a prefix."""
    if combined is None:
        return {}
    found = {"conflicts": combined.conflicts, "cosine": combined.cosine, "failed": combined.failed}
    return {f"{prefix}{name}": float(value) for name, value in found.items()}
