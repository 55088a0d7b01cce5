"""Made-up studies: tables of S training seeds x T tasks."""

from functools import partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bridge.evaluation.stats import Resampled, estimate


def generator(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def study(
    rng: np.random.Generator, S: int, T: int, seed: float, task: float, cell: float
) -> np.ndarray:
    """A table of mean zero with normal effects of these standard deviations."""
    return (
        seed * rng.normal(size=(S, 1)) + task * rng.normal(size=T) + cell * rng.normal(size=(S, T))
    )


seeded = given(st.integers(0, 2**32 - 1).map(generator))
"""A test for any generator."""


def cvar(choose: np.ndarray, score: np.ndarray, alpha: float = 0.2, **options: int) -> float:
    """The mean score of the worst tasks of one seed."""
    statistic = partial(Resampled.cvar, alpha=alpha, **options)
    return estimate(statistic, np.stack([choose, score], axis=-1)[None])
