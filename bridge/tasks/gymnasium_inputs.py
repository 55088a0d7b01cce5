"""Arguments of a Gymnasium environment (seeds, options, actions), checked and brought into one form.

Errors have the types that Gymnasium's own environments raise: ``gymnasium.error.Error`` for a seed, ``InvalidAction``
for an action, ``TypeError`` and ``ValueError`` for options, a render mode or a number of rows.

Shape letters: B rows.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
import torch
from gymnasium.error import Error, InvalidAction
from jaxtyping import Bool
from torch import Tensor

from bridge.tasks.base import Discrete, Space

SEED_LIMIT = 1 << 63
Seeds = SupportsIndex | Sequence[SupportsIndex | None] | np.ndarray | None
"""The seeds of a vector environment: one integer for all rows, or one a row."""
Mask = Bool[np.ndarray, " B"]
"""True for some of the rows."""


def one_seed(seed: Any) -> int | None:
    """A seed of any integer type as Python's integer; None stays None."""
    if seed is None:
        return None
    value = _integer(seed)
    if value is None:
        raise Error(
            f"Seed must be an integer or None, found {seed!r} of type {type(seed).__name__}."
        )
    if value < 0:
        raise Error(f"Seed must be greater or equal to zero, actual value: {value}")
    return value


def row_seeds(seed: Any, rows: int) -> list[int | None]:
    """A seed for each row: ``seed + i`` of one integer, ``seed[i]`` of a sequence or an array."""
    if isinstance(seed, list | tuple | range) or (isinstance(seed, np.ndarray) and seed.ndim):
        if len(seed) != rows:
            raise ValueError(
                f"A list of seeds needs one a row: {rows} rows, found {len(seed)} seeds."
            )
        return [one_seed(row_seed) for row_seed in seed]
    first = one_seed(seed)
    if first is None:
        return [None] * rows
    return list(range(first, first + rows))


def seed_bits(seed: int) -> int:
    """63 bits for a seed: the seed itself if it fits, else a hash of all its bits."""
    if seed < SEED_LIMIT:
        return seed
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) % SEED_LIMIT


def check_options(options: Any, known: Collection[str] = ()) -> Mapping[str, Any]:
    """The options of a reset, {} for None; an option without effect is refused."""
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise TypeError(
            f"Expected options=None or a dictionary, found {options!r} of type {type(options).__name__}."
        )
    for key in options:
        if key not in known:
            takes = f"only {', '.join(map(repr, known))}" if known else "no options"
            raise ValueError(
                f"reset() of this environment takes {takes}, found {key!r}. Leave it out."
            )
    return options


def reset_mask(options: Any, rows: int) -> Mask:
    """True for the rows to reset: all, or those of ``options["reset_mask"]``."""
    every = np.ones(rows, dtype=np.bool_)
    mask = check_options(options, known=["reset_mask"]).get("reset_mask", every)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = getattr(mask, "dtype", type(mask).__name__)
        raise TypeError(f"options['reset_mask'] must be a numpy array of booleans, found {kind}.")
    if mask.shape != (rows,) or not mask.any():
        raise ValueError(
            f"options['reset_mask'] must have shape ({rows},) and at least one True, found {mask}."
        )
    return mask


def action_batch(space: Space, actions: Any, rows: int) -> Tensor:
    """The actions of B rows as a tensor; the error for an action outside the space names its row."""
    if isinstance(space, Discrete):
        kinds, words, dtype = "iu", "integers", np.int64
    else:
        kinds, words, dtype = "iuf", "real numbers", np.float32
    low, high = (np.array(bound, dtype=dtype) for bound in (space.low, space.high))
    shape = (rows, *low.shape)
    expected = f"Expected actions of shape {shape}, {words}"
    try:
        array = np.asarray(actions)
    except ValueError as error:
        raise InvalidAction(f"{expected}, found lists of unequal lengths: {actions!r}.") from error
    if array.shape != shape or array.dtype.kind not in kinds:
        raise InvalidAction(f"{expected}, found {array.dtype} of shape {array.shape}: {actions!r}.")
    with np.errstate(over="ignore"):  # an overflow to infinity is refused below
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
    rows = _integer(num_envs)
    if rows is None or rows < 1:
        raise ValueError(f"num_envs must be an integer of at least 1, found {num_envs!r}.")
    return rows


def _integer(value: Any) -> int | None:
    """A value of any integer type but bool as Python's integer; None for anything else."""
    with contextlib.suppress(TypeError):
        return None if isinstance(value, bool) else operator.index(value)
    return None


def no_render_mode(render_mode: Any) -> None:
    """Refuse every mode but None; on this error Gymnasium tries again without one if the caller only prefers it."""
    if render_mode is not None:
        raise TypeError(
            f"Task families have nothing to render: expected render_mode=None, found {render_mode!r}."
        )
