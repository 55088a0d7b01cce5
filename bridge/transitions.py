"""Recorded steps side by side, as learners and sequence models read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optree
import torch
from torch import Tensor

from bridge.protocol import Step
from bridge.test_time.trial_buffer import TrialBuffer


def stacked(steps: Sequence[Step], dim: int = 1) -> TrialBuffer:
    """T steps of B rows as tensors with T at ``dim``: ``[B, T, ...]``, or ``[T, B, ...]`` for 0."""
    columns = zip(*((*step[:6], step.acted) for step in steps), strict=True)
    return TrialBuffer(*(torch.stack(column, dim) for column in columns))


def before(steps: Any, first: Any, dim: int = 1) -> Any:
    """The step before each of T consecutive steps, which lie along ``dim``; ``first`` is before them all."""

    def shifted(start: Tensor, each: Tensor) -> Tensor:
        return torch.cat([start.unsqueeze(dim), each.narrow(dim, 0, each.shape[dim] - 1)], dim)

    return optree.tree_map(shifted, first, steps)


def by_task(steps: TrialBuffer, tasks: int) -> TrialBuffer:
    """Steps ``[N E, ...]``, rows of the same task one after another, as ``[N, E, ...]`` for N ``tasks``."""
    return TrialBuffer(*(part.unflatten(0, (tasks, -1)) for part in steps))
