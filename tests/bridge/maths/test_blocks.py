import pytest
import torch

from bridge.maths import blocks


@pytest.mark.parametrize("rows", [0, 1, 4, 9])
def test_blocks_cover_every_row_once_in_order(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 4)
    sizes = []

    def double(number: torch.Tensor) -> torch.Tensor:
        sizes.append(len(number))
        return 2 * number

    number = torch.arange(rows)

    assert torch.equal(blocks.in_blocks(double, number), 2 * number)
    assert max(sizes) <= 4
