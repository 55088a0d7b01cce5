"""Blocks of rows that fit into the CPU's cache, for large batches.

Drawing or planning ten thousand tabular MDPs at once spends most of its time on fresh pages of memory; in blocks it is
three to four times faster. Rows never depend on each other, so results do not depend on the blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optree
import torch
from torch import Tensor

from bridge import memory as tree

BLOCK = 1024
"""Rows in a block: a few megabytes if a row has some hundred numbers."""


def in_blocks(function: Callable[..., Tensor], *args: Any) -> Tensor:
    """The rows of ``function(*args)``, computed a block at a time.

    Args:
        function: a function of some rows that returns as many rows.
        args: tensors, ``Rows`` and trees of them, all with the same number of rows.
    """
    rows = len(optree.tree_leaves(args[0])[0])
    blocks = [slice(first, first + BLOCK) for first in range(0, max(1, rows), BLOCK)]
    return torch.cat([function(*tree.select(args, block)) for block in blocks])
