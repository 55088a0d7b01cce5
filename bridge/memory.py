"""Operations on any agent's memory: copy, select, join and replace rows.

A memory is a tree (NamedTuples, dicts, tuples) of tensors that all lead with the trial axis B.
"""

from __future__ import annotations

from typing import Any

import optree
import torch
from jaxtyping import Bool, Int
from torch import Tensor


def leaves(memory: Any) -> list[Tensor]:
    """The tensors of a memory, in a fixed order."""
    return optree.tree_leaves(memory)


def fork(memory: Any, copies: int = 1) -> Any:
    """Each row ``copies`` times, side by side. Memories are copied by this function only."""
    return optree.tree_map(
        lambda leaf: leaf.repeat_interleave(copies, 0) if copies > 1 else leaf.clone(), memory
    )


def select(memory: Any, index: Int[Tensor, " n"] | slice | tuple[Tensor, ...]) -> Any:
    """The rows at ``index``, or what an index of several dimensions selects."""
    return optree.tree_map(lambda leaf: leaf[index], memory)


def places(memory: Any, index: Int[Tensor, "B T"]) -> Any:
    """Of leaves ``[B, S, ...]`` the places at ``index`` of each row: ``[B, T, ...]``."""
    row = torch.arange(len(index), device=index.device)[:, None]
    return optree.tree_map(lambda leaf: leaf[row, index], memory)


def joined(memories: list[Any]) -> Any:
    """The rows of several memories, one after another."""
    first, *others = memories
    return optree.tree_map(lambda *leaves: torch.cat(leaves), first, *others)


def where(live: Bool[Tensor, " B"] | None, new: Any, old: Any) -> Any:
    """``new`` in live rows, ``old`` in the others. None: all rows are live."""
    if live is None:
        return new
    return optree.tree_map(
        lambda a, b: torch.where(live.view(-1, *[1] * (a.dim() - 1)), a, b), new, old
    )


def detached(memory: Any) -> Any:
    """The memory, detached from the graph of gradients."""
    return optree.tree_map(Tensor.detach, memory)


def put(memory: Any, index: Int[Tensor, " n"], rows: Any) -> None:
    """Overwrite the rows at ``index`` with ``rows``, in place."""
    for leaf, new in zip(leaves(memory), leaves(rows), strict=True):
        leaf[index] = new
