"""Parts that several commands share: names of sizes, lists of names and numbers, budgets."""

from __future__ import annotations

import gc
import re
from typing import Any, Literal, cast, get_args

from bridge.config import refuse_beyond, split_list
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


def numbers_of(flag: str, given: tuple[str, ...], hint: Any) -> tuple[int, ...]:
    """Return the whole numbers that a list flag gives; none if it is not given.

    Raises:
        UserError: the flag names nothing, or what is no whole number within the bounds of the type ``hint``.
    """
    numbers = []
    for name in names_of(flag, given, ()):
        if not re.fullmatch(r"[-+]?\d{1,30}", name):
            raise UserError(
                f"--{flag} are whole numbers, such as 0,1,2 (or 0 1 2); found {name!r}."
            )
        refuse_beyond(f"--{flag}", int(name), hint)
        numbers.append(int(name))
    return tuple(numbers)


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
