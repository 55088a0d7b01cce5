"""Windows of histories: the tokens of a training sequence, equal to those that the same steps have at play.

A window starts anywhere in a history and never extends beyond its ends. One that would start before its history starts
with it, so that the first steps, at which nothing is known yet, are as frequent as the others.

Shape letters: b windows, W steps of a window, T steps of the longest history, D features of a token.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge import memory as tree
from bridge.rng import Rows
from bridge.transitions import before
from llm_adapt.histories import Histories
from llm_adapt.tokens import Layout


class Windows(NamedTuple):
    """Tokens, and the actions to be predicted."""

    tokens: Float[Tensor, "b W D"]
    label: Tensor
    """``[b, W, ...]``"""
    inside: Float[Tensor, "b W"]
    """1 within a history, 0 beyond its end."""


def cut(
    histories: Histories, state: Tensor, label: Tensor, width: int, layout: Layout, noise: Rows
) -> Windows:
    """Cut a window from each of b histories.

    Args:
        histories: b of them.
        state: the query state of each step, ``[b, T, ...]``.
        label: the action to be predicted there, ``[b, T, ...]``.
        width: W.
        layout: of tokens.
        noise: of b rows, for the starts of windows.
    """
    first = _first(histories.length, width, noise.uniform())
    at = first[:, None] + torch.arange(width)
    inside = at < histories.length[:, None]
    last = before(histories.steps, layout.nothing_yet(Rows.without_draws(first)))
    last, state, label = tree.places((last, state, label), at.clamp(max=state.shape[1] - 1))
    return Windows(layout.token(state, last), label, inside.float())


def _first(length: Int[Tensor, " b"], width: int, u: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
    """The starts of windows, uniformly from half a window before the history to a window before its end."""
    places = (length - width + width // 2 + 1).clamp(min=1).float()
    return (places * u - width // 2).floor().long().clamp(min=0)
