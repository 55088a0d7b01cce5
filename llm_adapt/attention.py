"""Attention of new tokens to one another and to a cache, as an attention function of transformers.

A decoder's own layers do not change, so that adapters fit them; they pass ``past=`` on to the function that
``AttentionInterface`` knows as ``ATTENTION``. The caches of transformers have one length for all rows, and copy or
write before they attend. Here a few new tokens attend to a cache in place, and nothing is written.

Shape letters: B trials, T new tokens, C cached tokens attended to, S = C + T, H heads, G key-value heads, E size of a
head; b is B, or 1 if all rows are alike.
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
"""The name of ``attend`` in the configs of decoders."""

_FEW = 64
"""New tokens up to which scores are computed for all at once; more attend by transformers' own function."""
Cached = Float[Tensor, "B G C E"]
"""Keys or values of cached tokens."""


class Past:
    """The cached keys and values of one call, and the new ones of its tokens, layer by layer."""

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
        self._new: list[tuple[Tensor, Tensor]] = []

    def swap(self, key: Tensor, value: Tensor) -> tuple[Cached, Cached]:
        """Store the next layer's new keys and values ``[B, G, T, E]``, and return its cached ones."""
        self._new.append((key, value))
        return self._cached[len(self._new) - 1]

    @property
    def entry(self) -> Entry:
        """Keys and values of the new tokens, ``[B, G, T, E]`` for each layer."""
        return Entry(*zip(*self._new, strict=True))


def visible(
    tokens: int, window: int, past: Past | None, device: torch.device
) -> Bool[Tensor, "b T S"] | None:
    """True where a new token attends to another: to the last ``window``, itself included. None: to all of them."""
    if past is None or not past.filled:
        if tokens <= window:
            return None
    elif tokens == 1 and past.shortest >= past.filled:
        return None
    number = torch.arange(tokens, device=device)[None]
    others = number
    if past is not None:
        number = past.start[:, None] + number
        others = torch.cat([held(past.start, past.capacity)[:, : past.filled], number], 1)
    distance = number[:, :, None] - others[:, None]
    return (distance >= 0) & (distance < window) & (others >= 0)[:, None]


def check_attention(name: object) -> None:
    """Refuse other attention functions than ours: they ignore a policy's cache, and some of them its window.

    Raises:
        UserError: ``name`` is not ``ATTENTION``.
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
    """Attention where the mask is True; without a mask to all of ``past``, and to new tokens up to the token itself."""
    keys, values = past.swap(key, value) if past else (key[:, :, :0], value[:, :, :0])
    if keys.shape[2]:
        if query.shape[2] <= _FEW:
            return _attend_from_few(query, key, value, keys, values, attention_mask, scaling), None
        key, value = torch.cat([keys, key], 2), torch.cat([values, value], 2)
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **options
    )


def _attend_from_few(
    query: Float[Tensor, "B H T E"],
    key: Float[Tensor, "B G T E"],
    value: Float[Tensor, "B G T E"],
    keys: Cached,
    values: Cached,
    mask: Bool[Tensor, "b 1 T S"] | None,
    scaling: float,
) -> Float[Tensor, "B T H E"]:
    """One softmax over the cached tokens and the new ones, without concatenation, which would copy the cache."""
    rows, heads, tokens, size = query.shape
    cached, group = keys.shape[2], heads // key.shape[1]
    query = query.reshape(rows, -1, group * tokens, size) * scaling
    score = torch.cat([query @ keys.transpose(2, 3), query @ key.transpose(2, 3)], -1)
    if mask is not None:
        score = score.masked_fill(~mask.repeat(1, 1, group, 1), -torch.inf)
    weight = score.softmax(-1, dtype=torch.promote_types(score.dtype, torch.float32)).to(
        score.dtype
    )
    out = weight[..., :cached] @ values + weight[..., cached:] @ value
    return out.view(rows, heads, tokens, size).transpose(1, 2)


AttentionInterface.register(ATTENTION, attend)
