"""Divergences of distributions of actions.

Shape letters: A actions.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import rel_entr

Chances = Float[np.ndarray, "... A"]
"""Probabilities of actions; rows sum to 1."""


def kullback_leibler(p: Chances, q: Chances) -> Float[np.ndarray, "..."]:
    """KL(p || q) in nats; infinite if p takes an action that q never takes."""
    return np.asarray(rel_entr(p, q).sum(-1))


def jensen_shannon(p: Chances, q: Chances) -> Float[np.ndarray, "..."]:
    """The Jensen-Shannon divergence in bits, from 0 (equal) to 1 (no common action) (Lin 1991)."""
    middle = (p + q) / 2
    nats = (kullback_leibler(p, middle) + kullback_leibler(q, middle)) / 2
    return np.asarray(np.clip(nats / np.log(2), 0.0, 1.0))


def total_variation(p: Chances, q: Chances) -> Float[np.ndarray, "..."]:
    """The total variation distance, from 0 to 1: the largest difference of the probabilities of an event."""
    return np.asarray(np.abs(p - q).sum(-1) / 2)
