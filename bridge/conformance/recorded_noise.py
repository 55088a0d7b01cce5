"""A record of all draws from named noise."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from jaxtyping import Int
from torch import Tensor

from bridge.rng import Rows

Draw = tuple[Any, list[int], tuple[int, ...]]
"""The stream, the rows and the shape of a draw."""


@contextmanager
def recorded_draws() -> Generator[list[Draw]]:
    """Record all draws inside this context, from whatever noise; yields the list that they are added to."""
    draws: list[Draw] = []
    bits = Rows.bits

    def recorded(rows: Rows, *shape: int) -> Int[Tensor, "B *shape"]:
        """The bits that all distributions are made of."""
        salt = rows.salt.tolist() if isinstance(rows.salt, Tensor) else rows.salt
        draws.append((salt, rows.key.tolist(), shape))
        return bits(rows, *shape)

    with mock.patch.object(Rows, "bits", recorded):
        yield draws
