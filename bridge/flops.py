"""Counting floating-point operations of matrix products and of attention, with torch's counter.

The counter needs a formula for each fused operation. Torch 2.13 has none for attention on a CPU, so that its formula
for a GPU is used. Causal attention counts as if nothing were masked.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

Shape = tuple[int, ...]


def counter() -> FlopCounterMode:
    """``with counter() as counted: ...`` and then ``counted.get_total_flops()``."""
    return FlopCounterMode(display=False, custom_mapping=_ON_CPU)


def _forward(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _backward(grad: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _forward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward,
}
