import pytest

from bridge.maths.blocks import row_blocks


@pytest.mark.parametrize(("rows", "size"), [(0, 4), (1, 4), (4, 4), (9, 4)])
def test_blocks_cover_every_row_once_in_order(rows: int, size: int) -> None:
    covered = [row for block in row_blocks(rows, size) for row in range(rows)[block]]

    assert covered == list(range(rows))
    assert all(block.stop - block.start <= size for block in row_blocks(rows, size))
