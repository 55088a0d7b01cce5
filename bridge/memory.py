"""What anyone may do with an agent's memory without knowing what is in it: copy rows, pick rows, keep rows.

A memory is a tree (NamedTuples, dicts, tuples) of tensors that all lead with the trial axis B.
"""

from __future__ import annotations

from typing import TypeVar

import optree
import torch
from jaxtyping import Bool, Int
from torch import Tensor

Memory = TypeVar("Memory")


def leaves(memory: object) -> list[Tensor]:
    """The tensors of a memory, in a fixed order."""
    return optree.tree_leaves(memory)  # ty: ignore[invalid-argument-type]


def fork(memory: Memory, copies: int = 1) -> Memory:
    """Each row ``copies`` times, side by side: the only copy of a memory that anyone makes."""
    return optree.tree_map(lambda leaf: leaf.repeat_interleave(copies, 0) if copies > 1 else leaf.clone(), memory)


def select(memory: Memory, index: Int[Tensor, " n"] | slice) -> Memory:
    """Some of the rows."""
    return optree.tree_map(lambda leaf: leaf[index], memory)


def where(live: Bool[Tensor, " B"] | None, new: Memory, old: Memory) -> Memory:
    """``new`` where a row is live, ``old`` where it is not: dead rows change nothing."""
    if live is None:
        return new

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(live.view(-1, *[1] * (a.dim() - 1)), a, b)

    return optree.tree_map(pick, new, old)
