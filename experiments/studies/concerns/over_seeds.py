"""Intervals of the study: over training seeds, for these very tasks, whatever their number.

Shape letters: S training seeds, T tasks.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from bridge.evaluation.stats import Interval, Resampled, difference, interval


def mean(values: Float[np.ndarray, "S T"]) -> Interval:
    """Return the mean over seeds and tasks, with a t interval over seeds."""
    return interval(Resampled.mean, values.mean(1, keepdims=True))


def gain(values: Float[np.ndarray, "S T"], others: Float[np.ndarray, "S T"]) -> Interval:
    """Return the mean of one training less that of another, with Welch's interval: their seeds are no pairs."""
    columns = (array.mean(1, keepdims=True) for array in (values, others))
    return interval(difference(Resampled.mean), *columns)
