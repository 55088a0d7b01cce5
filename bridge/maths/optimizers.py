"""Steps of optimisers for many rows at once, as if each row were a model: each is clipped and counted by itself.

``adam`` is Kingma & Ba 2015 (arXiv 1412.6980, algorithm 1), equal to ``torch.optim.Adam`` with a model a row. ``sgd``
is a plain step down, through which gradients can flow. A row whose gradient is not a number stands still.

Shape letters: N rows; every tensor of a tree leads with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import optree
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_DECAY = (0.9, 0.999)
_EPSILON = 1e-8


class Moments(NamedTuple):
    """What Adam remembers of each row."""

    first: Any
    """Of gradients: a tree like the weights'."""
    second: Any
    """Of their squares."""
    steps: Int[Tensor, " N"]
    """Taken so far."""


def no_moments(weights: Any) -> Moments:
    """Before the first step."""
    leaf = optree.tree_leaves(weights)[0]
    first, second = (optree.tree_map(torch.zeros_like, weights) for _ in range(2))
    return Moments(first, second, torch.zeros(len(leaf), dtype=torch.int64, device=leaf.device))


def adam(
    weights: Any, gradients: Sequence[Tensor], moments: Moments, *, lr: float, max_norm: float
) -> tuple[Any, Moments, Bool[Tensor, " N"]]:
    """One step down; the new weights and moments, and which rows took it.

    Args:
        weights: a tree.
        gradients: of its leaves, in their order.
        moments: of the steps before.
        lr: how far, about, each weight moves.
        max_norm: each row's gradient is scaled down to this Euclidean norm first.
    """
    scale, taken = _clipped(gradients, max_norm)
    whole = bool(taken.all())
    steps = moments.steps + taken
    own, shape = optree.tree_flatten(weights)
    firsts, seconds = (optree.tree_leaves(part) for part in (moments.first, moments.second))
    columns: list[list[Tensor]] = [[], [], []]
    for old in zip(own, gradients, firsts, seconds, strict=True):
        p, g, m, v = old
        each = (-1, *[1] * (g.dim() - 1))
        count = steps.clamp(min=1).view(each).to(g.dtype)
        g = g * scale.view(each)
        m_new = torch.lerp(m, g, 1 - _DECAY[0])
        v_new = torch.addcmul(_DECAY[1] * v, g, g, value=1 - _DECAY[1])
        spread = (v_new / (1 - _DECAY[1] ** count)).sqrt_().add_(_EPSILON)
        moved = torch.addcdiv(p, m_new / (1 - _DECAY[0] ** count), spread, value=-lr)
        for column, new, before in zip(columns, (moved, m_new, v_new), (p, m, v), strict=True):
            column.append(new if whole else torch.where(taken.view(each), new, before))
    again = [optree.tree_unflatten(shape, column) for column in columns]
    return again[0], Moments(again[1], again[2], steps), taken


def sgd(
    weights: Any, gradients: Sequence[Tensor], *, lr: float, max_norm: float
) -> tuple[Any, Bool[Tensor, " N"]]:
    """One plain step down; the new weights, and which rows took it.

    Differentiable in weights and gradients; by how much a gradient is scaled down counts as a constant.

    Args:
        weights, gradients, max_norm: as for ``adam``.
        lr: how far, as a share of the gradient.
    """
    scale, taken = _clipped(gradients, max_norm)
    own, shape = optree.tree_flatten(weights)
    moved = []
    for p, g in zip(own, gradients, strict=True):
        each = (-1, *[1] * (g.dim() - 1))
        moved.append(p - lr * scale.view(each) * torch.where(taken.view(each), g, 0.0))
    return optree.tree_unflatten(shape, moved), taken


def _clipped(
    gradients: Sequence[Tensor], max_norm: float
) -> tuple[Float[Tensor, " N"], Bool[Tensor, " N"]]:
    """What each row's gradient is multiplied by, and whether it is one."""
    norm = torch.stack([g.detach().square().flatten(1).sum(1) for g in gradients]).sum(0).sqrt()
    taken = norm.isfinite()
    return torch.where(taken, (max_norm / norm.clamp(min=1e-12)).clamp(max=1.0), 0.0), taken
