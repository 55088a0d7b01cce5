"""Bytes of weights: numpy's own where it has the type, and two a number of bfloat16, which it has not."""

import torch

from bridge.digest import raw_bytes


def test_bytes_are_those_of_numpy_row_by_row():
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.float64, torch.float16):
        x = torch.randn(3, 4, generator=generator).to(dtype)
        assert raw_bytes(x) == x.numpy().tobytes()
        assert raw_bytes(x.T) == x.T.contiguous().numpy().tobytes()
        assert raw_bytes(x[0, 0]) == x[0, 0].numpy().tobytes()
    assert raw_bytes(torch.arange(5).requires_grad_(False)) == torch.arange(5).numpy().tobytes()
    assert raw_bytes(torch.zeros(0)) == b""


def test_bfloat16_is_the_upper_half_of_float32():
    x = torch.tensor([1.0, -2.5, 0.0], dtype=torch.bfloat16, requires_grad=True)
    assert raw_bytes(x) == b"\x80\x3f\x20\xc0\x00\x00"
    assert raw_bytes(x) == b"".join(raw_bytes(x.float())[4 * i + 2 : 4 * i + 4] for i in range(3))
