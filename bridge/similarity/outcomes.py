"""Similarity of what two agents earn on the same trials.

Shape letters: T trials, C controls.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

_ROUNDING = 1e-5
"""A rest of this share of its numbers is rounding: they may have been in float32."""


def error_consistency(one: Bool[np.ndarray, " T"], other: Bool[np.ndarray, " T"]) -> float:
    """Cohen's kappa of the errors of two agents: 1 if they err on the same trials, 0 if independently of one another.

    NaN if one of them always errs or never does: then agreement is no evidence (Geirhos et al. 2020, arXiv 2006.16736).
    """
    observed = np.mean(one == other)
    p, q = np.mean(one), np.mean(other)
    if p in (0, 1) or q in (0, 1):
        return float("nan")
    expected = p * q + (1 - p) * (1 - q)
    return float((observed - expected) / (1 - expected))


def partial_correlation(
    x: Float[np.ndarray, " T"], y: Float[np.ndarray, " T"], controls: Float[np.ndarray, "T C"]
) -> float:
    """Pearson's correlation of what a linear function of the controls leaves of ``x`` and of ``y``.

    NaN if it leaves nothing of one of them.
    """
    known = np.column_stack([np.ones(len(x)), controls]).astype(np.float64)
    both = np.column_stack([x, y]).astype(np.float64)
    solution, *_ = np.linalg.lstsq(known, both, rcond=None)
    rest = both - known @ solution
    size = np.linalg.norm(rest, axis=0)
    if (size <= _ROUNDING * np.linalg.norm(both, axis=0)).any():
        return float("nan")
    return float(rest[:, 0] @ rest[:, 1] / size.prod())
