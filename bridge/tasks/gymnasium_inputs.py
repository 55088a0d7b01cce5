"""What a caller hands to a Gymnasium environment (seeds, options, actions), checked and brought into one form.

Refusals have the types that Gymnasium's own environments raise: ``gymnasium.error.Error`` for a seed, ``InvalidAction``
for an action, ``TypeError`` and ``ValueError`` for options, a render mode or a number of rows.

Shape letters: B rows.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
import torch
from gymnasium.error import Error, InvalidAction
from jaxtyping import Bool
from torch import Tensor

from bridge.tasks.base import Box, Discrete

SEED_LIMIT = 1 << 63
Seeds = SupportsIndex | Sequence[SupportsIndex | None] | np.ndarray | None
"""What seeds the rows of a vector environment: one integer for all, or several, one a row."""


def one_seed(seed: Any) -> int | None:
    """A seed as Python's integer, whatever library's integer it was; None stays None."""
    if seed is None:
        return None
    try:
        if isinstance(seed, bool):
            raise TypeError
        value = operator.index(seed)
    except TypeError:
        raise Error(
            f"Seed must be an integer or None, found {seed!r} of type {type(seed).__name__}."
        ) from None
    if value < 0:
        raise Error(f"Seed must be greater or equal to zero, actual value: {value}")
    return value


def row_seeds(seed: Any, rows: int) -> list[int | None]:
    """A seed for each row: ``seed + i`` of one integer, ``seed[i]`` of a sequence or an array."""
    several = (
        seed.ndim > 0 if isinstance(seed, np.ndarray) else isinstance(seed, list | tuple | range)
    )
    if several:
        if len(seed) != rows:
            raise ValueError(
                f"A list of seeds needs one a row: {rows} rows, found {len(seed)} seeds."
            )
        return [one_seed(row_seed) for row_seed in seed]
    first = one_seed(seed)
    return [None if first is None else first + i for i in range(rows)]


def seed_bits(seed: int) -> int:
    """The 63 bits that name a seed's noise: the seed itself as far as it fits, a hash of all its bits beyond."""
    if seed < SEED_LIMIT:
        return seed
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) % SEED_LIMIT


def check_options(options: Any, known: Collection[str] = ()) -> Mapping[str, Any]:
    """The options of a reset, {} for None; an option that would have no effect is refused."""
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise TypeError(
            f"Expected options=None or a dictionary, found {options!r} of type {type(options).__name__}."
        )
    unknown = [key for key in options if key not in known]
    if unknown:
        takes = f"only {', '.join(map(repr, known))}" if known else "no options"
        raise ValueError(
            f"reset() of this environment takes {takes}, found {unknown[0]!r}. Leave it out."
        )
    return options


def reset_mask(options: Any, rows: int) -> Bool[np.ndarray, " B"]:
    """Which rows to reset: all, or those of ``options["reset_mask"]``."""
    mask = check_options(options, known=["reset_mask"]).get(
        "reset_mask", np.ones(rows, dtype=np.bool_)
    )
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"options['reset_mask'] must be a numpy array of booleans, found {kind}.")
    if mask.shape != (rows,) or not mask.any():
        raise ValueError(
            f"options['reset_mask'] must have shape ({rows},) and at least one True, found {mask}."
        )
    return mask


def action_batch(space: Discrete | Box, actions: Any, rows: int) -> Tensor:
    """The actions of B rows as a tensor; what the space does not hold is refused by row."""
    if isinstance(space, Discrete):
        shape, kinds, dtype = (rows,), "iu", np.int64
        low, high = np.array(0), np.array(space.n - 1)
    else:
        shape, kinds, dtype = (rows, len(space.low)), "iuf", np.float32
        low, high = np.array(space.low, dtype=dtype), np.array(space.high, dtype=dtype)
    expected = (
        f"Expected actions of shape {shape}, {'integers' if kinds == 'iu' else 'real numbers'}"
    )
    try:
        array = np.asarray(actions)
    except ValueError as error:
        raise InvalidAction(f"{expected}, found lists of unequal lengths: {actions!r}.") from error
    if array.shape != shape or array.dtype.kind not in kinds:
        raise InvalidAction(f"{expected}, found {array.dtype} of shape {array.shape}: {actions!r}.")
    with np.errstate(
        over="ignore"
    ):  # what float32 cannot hold becomes infinite, and is refused below
        array = array.astype(dtype)
    bad = ~((array >= low) & (array <= high)).reshape(rows, -1).all(1)
    if bad.any():
        row = int(bad.argmax())
        raise InvalidAction(
            f"Row {row} was given the action {array[row]}; actions lie between {low} and {high}."
        )
    return torch.from_numpy(array)


def row_count(num_envs: Any) -> int:
    """A number of rows of at least one, as Python's integer."""
    rows = (
        None
        if isinstance(num_envs, bool) or not hasattr(num_envs, "__index__")
        else operator.index(num_envs)
    )
    if rows is None or rows < 1:
        raise ValueError(f"num_envs must be an integer of at least 1, found {num_envs!r}.")
    return rows


def no_render_mode(render_mode: Any) -> None:
    """Refuse every mode but None, with the error after which a caller that only prefers one tries without."""
    if render_mode is not None:
        raise TypeError(
            f"Task families have nothing to render: expected render_mode=None, found {render_mode!r}."
        )
