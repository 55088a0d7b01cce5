"""A cache of keys and values for B trials, each row with a length of its own.

A row is a ring: token i is in slot i modulo the capacity, where it replaces token i - capacity. So a row that has read
more than the capacity keeps the newest tokens, and a row that does not move keeps what it had. Reading does not change
a cache; ``write`` and ``extend`` write in place.

Shape letters: B trials, T tokens, C capacity, H key-value heads, D sizes of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Entry(NamedTuple):
    """Keys and values of one token of each row, one tensor for each layer."""

    keys: tuple[Float[Tensor, "B H D"], ...]
    values: tuple[Float[Tensor, "B H D"], ...]


class Cache(NamedTuple):
    """Keys and values of the newest tokens, one tensor for each layer. Slots without a token yet are zero."""

    keys: tuple[Float[Tensor, "B H C D"], ...]
    values: tuple[Float[Tensor, "B H C D"], ...]
    length: Int[Tensor, " B"]
    """Number of tokens read so far, including those that have been replaced."""

    @property
    def capacity(self) -> int:
        """C, the number of slots of a row."""
        return self.keys[0].shape[2]


def held(length: Int[Tensor, " B"], capacity: int) -> Int[Tensor, "B C"]:
    """The number of the token in each slot after ``length`` tokens; negative if there is none yet."""
    newest = length[:, None] - 1
    return newest - (newest - torch.arange(capacity, device=length.device)) % capacity


def write(cache: Cache, entry: Entry, live: Bool[Tensor, " B"] | None = None) -> Cache:
    """Write one more token into every live row (None: all), in place."""
    rows, slot = _next(cache, live)
    for ring, new in zip(cache.keys + cache.values, entry.keys + entry.values, strict=True):
        ring[rows, :, slot] = new[rows].to(ring.dtype)
    return cache._replace(length=cache.length + (1 if live is None else live))


def _next(cache: Cache, live: Bool[Tensor, " B"] | None) -> tuple[slice | Tensor, int | Tensor]:
    """The live rows and the slots of their next tokens: all rows and one slot if they go in step, which is faster."""
    shortest, longest = cache.length.aminmax()
    if shortest == longest and (live is None or live.all()):
        return slice(None), int(longest) % cache.capacity
    slot = cache.length % cache.capacity
    rows = torch.arange(len(slot), device=slot.device) if live is None else live.nonzero()[:, 0]
    return rows, slot[rows]


def extend(cache: Cache, entry: Entry, count: Int[Tensor, " B"]) -> Cache:
    """Write ``count`` more tokens into each row, in place: equal to ``count`` times ``write``.

    ``entry`` has T tokens, ``[B, H, T, D]``, of which the first ``count`` are written.
    """
    t = torch.arange(entry.keys[0].shape[2], device=count.device)
    rows, t = ((t < count[:, None]) & (t >= count[:, None] - cache.capacity)).nonzero().unbind(1)
    slot = (cache.length[rows] + t) % cache.capacity
    for ring, new in zip(cache.keys + cache.values, entry.keys + entry.values, strict=True):
        ring[rows, :, slot] = new[rows, :, t].to(ring.dtype)
    return cache._replace(length=cache.length + count)
