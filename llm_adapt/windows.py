"""Windows of histories: what a transformer reads in training, as it would read it at play.

A window begins anywhere in a history and never goes beyond its ends. One that would begin before its history begins
with it, so that beginnings, where nothing is known yet, are seen as often as the rest.

Shape letters: b windows, W steps of a window, T steps of the longest history, D features of a token.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.rng import Rows
from llm_adapt.histories import Histories
from llm_adapt.tokens import Layout, Transition


class Windows(NamedTuple):
    """Tokens and what is to be said at them."""

    tokens: Float[Tensor, "b W D"]
    label: Tensor
    """``[b, W, ...]``"""
    inside: Float[Tensor, "b W"]
    """1, and 0 beyond the end of a history."""


def cut(
    histories: Histories, state: Tensor, label: Tensor, width: int, layout: Layout, noise: Rows
) -> Windows:
    """A window of each history.

    Args:
        histories: b of them.
        state: which one each step asks about, ``[b, T, ...]``.
        label: what is to be said there, ``[b, T, ...]``.
        width: W.
        layout: of tokens.
        noise: of b rows; says where windows begin.
    """
    first = _first(histories.length, width, noise.uniform())
    at = first[:, None] + torch.arange(width)
    inside = at < histories.length[:, None]
    at, b = at.clamp(max=state.shape[1] - 1), torch.arange(len(first))[:, None]
    before = Transition(*(part[b, (at - 1).clamp(min=0)] for part in histories.steps))
    none = layout.nothing_yet(Rows(torch.zeros(len(first), dtype=torch.int64)))
    last = Transition(
        *(_where(at == 0, new[:, None], old) for new, old in zip(none, before, strict=True))
    )
    return Windows(layout.token(state[b, at], last), label[b, at], inside.float())


def _first(length: Int[Tensor, " b"], width: int, u: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
    """Where windows begin: evenly anywhere from half a window before the history to a window before its end."""
    places = (length - width + width // 2 + 1).clamp(min=1).float()
    return (places * u - width // 2).floor().long().clamp(min=0)


def _where(here: Bool[Tensor, "b W"], new: Tensor, old: Tensor) -> Tensor:
    return torch.where(here.view(*here.shape, *[1] * (old.dim() - 2)), new, old)
