"""Comparison of trees of tensors, row by row and bit by bit.

Shape letters: B rows.
"""

from __future__ import annotations

from typing import Any

import optree
import torch
from jaxtyping import Bool
from torch import Tensor

from bridge import memory as tree


def per_row(mask: Bool[Tensor, "B *any"]) -> Bool[Tensor, " B"]:
    """True for the rows that are all true."""
    return mask.flatten(1).all(1) if mask.dim() > 1 else mask


def same_bits(a: Tensor, b: Tensor) -> Bool[Tensor, "*any"]:
    """Elementwise equality, with NaN equal to NaN."""
    return (a == b) | ((a != a) & (b != b))


def same_rows(a: Any, b: Any) -> Bool[Tensor, " B"]:
    """True for the rows that are the same in two trees."""
    pairs = zip(tree.leaves(a), tree.leaves(b), strict=True)
    return torch.stack([per_row(same_bits(x, y)) for x, y in pairs]).all(0)


def first_difference(found: Any, expected: Any) -> tuple[int | None, str] | None:
    """The first row in which two trees differ (None: all rows) and the difference; None if they are the same."""
    ours, theirs = optree.tree_structure(found), optree.tree_structure(expected)
    if ours != theirs:
        return None, f"{ours}, not {theirs}"
    for path, a, b in zip(theirs.paths(), tree.leaves(found), tree.leaves(expected), strict=True):
        name = "/".join(map(str, path))
        if a.shape != b.shape or a.dtype != b.dtype:
            return None, f"{name} {a.dtype} {tuple(a.shape)}, not {b.dtype} {tuple(b.shape)}"
        bad = (~per_row(same_bits(a, b))).nonzero().flatten()
        if len(bad):
            row = int(bad[0])
            return row, f"{name} {a[row].tolist()}, not {b[row].tolist()}"
    return None
