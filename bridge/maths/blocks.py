"""Blocks of rows that fit into the CPU's cache, for large batches.

Drawing or planning ten thousand tabular MDPs at once spends most of its time on fresh pages of memory; in blocks it is
three to four times faster. Rows never depend on each other, so results do not depend on the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator

BLOCK = 1024
"""Rows in a block: a few megabytes if a row has some hundred numbers."""


def row_blocks(rows: int, size: int = BLOCK) -> Iterator[slice]:
    """Consecutive slices that cover ``0..rows-1``."""
    for first in range(0, rows, size):
        yield slice(first, min(first + size, rows))
