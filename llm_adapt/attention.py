"""Attention of new tokens to one another and to a cache, as an attention function that transformers' decoders call.

A decoder's own layers stay as they are, so that adapters fit them; they pass ``past=`` on to the function that
``AttentionInterface`` knows as ``ATTENTION``. The caches of transformers hold one length for all rows, and copy or
write before they attend; here one new token attends to a cache where it lies, and nothing is written.

Shape letters: B trials, T new tokens, C cached tokens attended to, S = C + T, H heads, G key-value heads, E numbers of
a head; b is B, or 1 where all rows are alike.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from bridge.errors import UserError
from llm_adapt.cache import Cache, Entry, held

ATTENTION = "metabridge"
"""The name by which decoders find ``attend``."""


class Past:
    """What the tokens of one call can attend to besides one another, and what they leave for the cache."""

    def __init__(self, cache: Cache) -> None:
        self.shortest, self.longest = (int(length) for length in cache.length.aminmax())
        self.start: Int[Tensor, " b"] = cache.length[: 1 if self.shortest == self.longest else None]
        """The number of the first new token."""
        self.capacity = cache.capacity
        self.filled = min(self.longest, cache.capacity)
        self._cached = [
            (keys[:, :, : self.filled], values[:, :, : self.filled])
            for keys, values in zip(cache.keys, cache.values, strict=True)
        ]
        self._left: list[tuple[Tensor, Tensor]] = []

    def swap(
        self, key: Tensor, value: Tensor
    ) -> tuple[Float[Tensor, "B G C E"], Float[Tensor, "B G C E"]]:
        """Take the next layer's new keys and values ``[B, G, T, E]``, and give its cached ones."""
        self._left.append((key, value))
        return self._cached[len(self._left) - 1]

    @property
    def entry(self) -> Entry:
        """Keys and values of the new tokens, ``[B, G, T, E]`` a layer."""
        return Entry(*zip(*self._left, strict=True))


def visible(
    tokens: int, window: int, past: Past | None, device: torch.device
) -> Bool[Tensor, "b T S"] | None:
    """Which tokens each new one attends to: the last ``window``, itself included. None: all that are there."""
    if past is None or not past.filled:
        if tokens <= window:
            return None
    elif tokens == 1 and past.shortest >= past.filled:
        return None
    at = torch.arange(tokens, device=device)[None]
    there = at
    if past is not None:
        at = past.start[:, None] + at
        there = torch.cat([held(past.start, past.capacity)[:, : past.filled], at], 1)
    back = at[:, :, None] - there[:, None]
    return (back >= 0) & (back < window) & (there >= 0)[:, None]


def check_attention(name: object) -> None:
    """Refuse all attention functions but ours: the others ignore a policy's cache, and some its window.

    Raises:
        UserError: ``name`` is another one.
    """
    if name != ATTENTION:
        raise UserError(
            f"A policy attends by {ATTENTION!r} alone, which knows its window and its cache; found {name!r}. Set its "
            f"decoder back: policy.backbone.set_attn_implementation({ATTENTION!r})."
        )


def attend(
    module: nn.Module,
    query: Float[Tensor, "B H T E"],
    key: Float[Tensor, "B G T E"],
    value: Float[Tensor, "B G T E"],
    attention_mask: Bool[Tensor, "b 1 T S"] | None,
    *,
    scaling: float,
    past: Past | None = None,
    **options: Any,
) -> tuple[Float[Tensor, "B T H E"], None]:
    """A token attends where the mask is true; without one to all of ``past``, and to the new tokens up to itself."""
    keys, values = past.swap(key, value) if past else (key[:, :, :0], value[:, :, :0])
    if not keys.shape[2]:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    if query.shape[2] == 1:
        return _attend_from_one(query, key, value, keys, values, attention_mask, scaling), None
    key, value = torch.cat([keys, key], 2), torch.cat([values, value], 2)
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **options
    )


def _attend_from_one(
    query: Float[Tensor, "B H 1 E"],
    key: Float[Tensor, "B G 1 E"],
    value: Float[Tensor, "B G 1 E"],
    keys: Float[Tensor, "B G C E"],
    values: Float[Tensor, "B G C E"],
    mask: Bool[Tensor, "b 1 1 S"] | None,
    scaling: float,
) -> Float[Tensor, "B 1 H E"]:
    """One softmax over the cached tokens and the new one, not laid side by side: that would copy them all."""
    rows, heads, _, size = query.shape
    query = query.reshape(rows, key.shape[1], -1, size) * scaling
    score = torch.cat([query @ keys.transpose(2, 3), query @ key.transpose(2, 3)], -1)
    if mask is not None:
        score = score.masked_fill(~mask, -torch.inf)
    weight = score.softmax(-1)
    return (weight[..., :-1] @ values + weight[..., -1:] * value).reshape(rows, 1, heads, size)


AttentionInterface.register(ATTENTION, attend)
