"""Optimiser steps for many rows at once, as if each row were a model: each is clipped and counted by itself.

``adam`` is Kingma & Ba 2015 (arXiv 1412.6980, algorithm 1), equal to ``torch.optim.Adam`` with a model a row. ``sgd``
is a plain gradient step that is differentiable. A row whose gradient is not finite keeps its weights.

Shape letters: N rows, the leading dimension of every tensor of a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import optree
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge import memory as tree

_DECAY = (0.9, 0.999)
_EPSILON = 1e-8


class Moments(NamedTuple):
    """Adam's state of each row."""

    first: Any
    """Running means of the gradients: a tree like the weights'."""
    second: Any
    """Running means of their squares."""
    steps: Int[Tensor, " N"]
    """Steps taken so far."""


def no_moments(weights: Any) -> Moments:
    """The state before the first step."""
    leaf = tree.leaves(weights)[0]
    first, second = (optree.tree_map(torch.zeros_like, weights) for _ in range(2))
    return Moments(first, second, torch.zeros(len(leaf), dtype=torch.int64, device=leaf.device))


def adam(
    weights: Any, gradients: Sequence[Tensor], moments: Moments, *, lr: float, max_norm: float
) -> tuple[Any, Moments, Bool[Tensor, " N"]]:
    """One step of Adam: the new weights and moments, and the rows that took it.

    Args:
        weights: a tree.
        gradients: the gradients of its leaves, in their order.
        moments: the state after the steps before.
        lr: learning rate, about the distance that each weight moves.
        max_norm: each row's gradient is first scaled down to this Euclidean norm.
    """
    scale, taken = clipping(gradients, max_norm)
    steps = moments.steps + taken

    def stepped(p: Tensor, g: Tensor, m: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count = along(g, steps.clamp(min=1)).to(g.dtype)
        g = g * along(g, scale)
        m = torch.lerp(m, g, 1 - _DECAY[0])
        v = torch.addcmul(_DECAY[1] * v, g, g, value=1 - _DECAY[1])
        spread = (v / (1 - _DECAY[1] ** count)).sqrt_().add_(_EPSILON)
        return torch.addcdiv(p, m / (1 - _DECAY[0] ** count), spread, value=-lr), m, v

    leaves, structure = optree.tree_flatten(weights)
    before = (leaves, tree.leaves(moments.first), tree.leaves(moments.second))
    after = zip(*map(stepped, leaves, gradients, *before[1:]), strict=True)
    live = None if bool(taken.all()) else taken
    new_weights, first, second = (
        optree.tree_unflatten(structure, tree.where(live, list(new), old))
        for new, old in zip(after, before, strict=True)
    )
    return new_weights, Moments(first, second, steps), taken


def sgd(
    weights: Any, gradients: Sequence[Tensor], *, lr: float, max_norm: float
) -> tuple[Any, Bool[Tensor, " N"]]:
    """One plain gradient step: the new weights, and the rows that took it.

    Differentiable in weights and gradients; the clipping factor counts as a constant.

    Args:
        weights, gradients, max_norm: as for ``adam``.
        lr: learning rate.
    """
    scale, taken = clipping(gradients, max_norm)
    leaves, structure = optree.tree_flatten(weights)
    moved = [
        p - lr * along(g, scale) * torch.where(along(g, taken), g, 0.0)
        for p, g in zip(leaves, gradients, strict=True)
    ]
    return optree.tree_unflatten(structure, moved), taken


def along(g: Tensor, row: Tensor) -> Tensor:
    """Numbers ``[N]`` in a shape that broadcasts against ``g``."""
    return row.view(-1, *[1] * (g.dim() - 1))


def clipping(
    gradients: Sequence[Tensor], max_norm: float
) -> tuple[Float[Tensor, " N"], Bool[Tensor, " N"]]:
    """The factor that scales each row's gradient down to ``max_norm``, and True if that gradient is finite."""
    norm = norms(gradients)
    taken = norm.isfinite()
    return torch.where(taken, (max_norm / norm.clamp(min=1e-12)).clamp(max=1.0), 0.0), taken


def norms(tensors: Sequence[Tensor]) -> Float[Tensor, " N"]:
    """The Euclidean norm of each row over all tensors; a constant for gradients."""
    return torch.stack([x.detach().square().flatten(1).sum(1) for x in tensors]).sum(0).sqrt()
