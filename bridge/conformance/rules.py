"""What a rule is: a function whose docstring states it in one sentence, and whose error says how to mend the breach."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from bridge.conformance.compare import per_row
from bridge.errors import ContractError
from bridge.tasks.base import Box, Discrete

Subject = TypeVar("Subject")


class Breach(Exception):  # noqa: N818 (it never leaves this package: `rule` turns it into a ContractError)
    """What a rule expected, what it found, where, and the remedy."""


class Verdict(NamedTuple):
    """What came of one rule."""

    rule: str
    sentence: str
    error: ContractError | None


def rule(check: Callable[[Subject], None]) -> Callable[[Subject], None]:
    """A check whose every failure is a ``ContractError`` that names the subject and the rule."""

    @functools.wraps(check)
    def checked(subject: Subject) -> None:
        try:
            check(subject)
        except Breach as breach:
            raise ContractError(
                f"{_name(subject)} breaks {rule_name(check)}: {sentence(check)} {breach}"
            ) from None
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
            raise ContractError(
                f"{_name(subject)} fails under {rule_name(check)}: {sentence(check)} {found}"
            ) from error

    return checked


def demand(
    good: bool | Tensor, *, expected: str, found: Any, remedy: str, **place: int | None
) -> None:
    """Raise unless ``good``; of a mask that leads with rows, the first bad row is named and shown of ``found``.

    ``place`` says where: row, episode, step.
    """
    if isinstance(good, Tensor):
        bad = (~per_row(good)).nonzero().flatten()
        if not len(bad):
            return
        place = {"row": int(bad[0]), **place}
        found = found[int(bad[0])].tolist() if isinstance(found, Tensor) else found
    elif good:
        return
    where = ", ".join(f"{name} {n}" for name, n in place.items() if n is not None)
    raise Breach(f"{f'At {where}: e' if where else 'E'}xpected {expected}, found {found}. {remedy}")


def space_bounds(space: Discrete | Box, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The least and greatest value, ``[]`` for integers or ``[D]``."""
    low, high = (0, space.n - 1) if isinstance(space, Discrete) else (space.low, space.high)
    return torch.tensor(low, dtype=dtype), torch.tensor(high, dtype=dtype)


def listed(*checks: Callable[..., None]) -> dict[str, Callable[..., None]]:
    """Checks by name."""
    return {rule_name(check): check for check in checks}


def verdicts(checks: Mapping[str, Callable[..., None]], *subject: Any) -> Iterator[Verdict]:
    """Run the rules one by one and say what came of each; none stops the others."""
    for name, check in checks.items():
        try:
            check(*subject)
        except ContractError as error:
            yield Verdict(name, sentence(check), error)
        else:
            yield Verdict(name, sentence(check), None)


def sentence(check: Callable) -> str:
    """The rule in one sentence: its docstring, in one line."""
    return " ".join((check.__doc__ or "").split())


def rule_name(check: Callable) -> str:
    """What a rule is called: the name of its function."""
    return getattr(check, "__name__", repr(check))


def _name(subject: object) -> str:
    return getattr(subject, "id", None) or str(subject)
