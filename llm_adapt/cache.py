"""What a transformer has read of B trials: keys and values, each row at a length of its own.

A row's tokens stand in a ring: token i in slot i modulo the capacity, over token i - capacity. So a row that has read
more than the capacity keeps the newest, and a row that has stood still keeps all that it had. Reading writes nothing;
``write`` and ``extend`` write in place.

Shape letters: B trials, T tokens, C capacity, H key-value heads, D sizes of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Entry(NamedTuple):
    """Keys and values of one token of each row, a tensor a layer."""

    keys: tuple[Float[Tensor, "B H D"], ...]
    values: tuple[Float[Tensor, "B H D"], ...]


class Cache(NamedTuple):
    """Keys and values of the newest tokens, a tensor a layer; a slot that holds no token yet holds zeros."""

    keys: tuple[Float[Tensor, "B H C D"], ...]
    values: tuple[Float[Tensor, "B H C D"], ...]
    length: Int[Tensor, " B"]
    """How many tokens have been read, those that were pushed out included."""

    @property
    def capacity(self) -> int:
        """C."""
        return self.keys[0].shape[2]


def held(length: Int[Tensor, " B"], capacity: int) -> Int[Tensor, "B C"]:
    """Which token each slot of a row holds that has read ``length`` tokens, by number; negative: none yet."""
    newest = length[:, None] - 1
    return newest - (newest - torch.arange(capacity, device=length.device)) % capacity


def write(cache: Cache, entry: Entry, live: Bool[Tensor, " B"] | None = None) -> Cache:
    """One more token in every live row (None: in all), in place."""
    slot = cache.length % cache.capacity
    rows = torch.arange(len(slot), device=slot.device) if live is None else live.nonzero()[:, 0]
    for ring, new in zip(cache.keys + cache.values, entry.keys + entry.values, strict=True):
        ring[rows, :, slot[rows]] = new[rows].to(ring.dtype)
    return cache._replace(length=cache.length + (1 if live is None else live))


def extend(cache: Cache, entry: Entry, count: Int[Tensor, " B"]) -> Cache:
    """As many more tokens in each row as ``count`` says, in place: equal to so many times ``write``.

    ``entry`` holds T tokens, ``[B, H, T, D]``, of which the first ``count`` are written.
    """
    t = torch.arange(entry.keys[0].shape[2], device=count.device)
    rows, t = ((t < count[:, None]) & (t >= count[:, None] - cache.capacity)).nonzero().unbind(1)
    slot = (cache.length[rows] + t) % cache.capacity
    for ring, new in zip(cache.keys + cache.values, entry.keys + entry.values, strict=True):
        ring[rows, :, slot] = new[rows, :, t].to(ring.dtype)
    return cache._replace(length=cache.length + count)
