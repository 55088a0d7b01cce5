"""Parts that several commands share: names of sizes, lists of names, budgets."""

from __future__ import annotations

import gc
from typing import Literal, cast, get_args

from bridge.config import split_list
from bridge.errors import UserError, unknown
from bridge.evaluation.plan import Track
from bridge.training.budget import Budget
from experiments.sizes import SIZES

SizeName = Literal["smoke", "quick", "small", "full"]


def names_of(flag: str, given: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that a list flag gives, or the default if it is not given.

    Raises:
        UserError: the flag is given and names nothing.
    """
    if not given:
        return default
    names = split_list(given)
    if not names:
        raise UserError(
            f"--{flag} names nothing. Leave it out for the default, or name one or more."
        )
    return names


def tracks_of(names: tuple[str, ...]) -> tuple[Track, ...]:
    """Return the tracks that ``names`` name.

    Raises:
        UserError: one of them is none.
    """
    for name in names:
        if name not in get_args(Track):
            raise unknown("track", name, get_args(Track))
    return cast("tuple[Track, ...]", names)


def budget_of(given: str, method: str, family: str, size: SizeName | None) -> Budget:
    """Return the training that ``given`` names, or that of a size if it is empty (default: quick).

    Raises:
        UserError: both are given, or the budget is none.
    """
    if given and size:
        raise UserError("--budget and --size both say how long to train. Leave one of them out.")
    if given:
        return Budget.parse(given)
    steps = SIZES[size or "quick"].steps(family.partition(":")[0], method)
    return Budget(float(steps))


def one_thread() -> None:
    """Set one torch thread and switch garbage collection on again, once a command has imported its modules.

    Batches of a few thousand rows are too small for two threads (measured: up to four times slower).
    """
    import torch

    torch.set_num_threads(1)
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
