"""Rules: functions whose docstring states the rule in one sentence, and whose error contains a remedy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from bridge import memory as tree
from bridge import user_code
from bridge.conformance.compare import first_difference, per_row
from bridge.errors import ContractError
from bridge.tasks.base import Space

Subject = TypeVar("Subject")


class Breach(Exception):  # noqa: N818 (it never leaves this package: `rule` turns it into a ContractError)
    """The message of a broken rule: expected, found, place and remedy."""


OTHER_KIND = "it is for another kind of family"
"""The reason of rules that a subject of this kind never has."""


class LeftOut(Exception):  # noqa: N818 (nor does this: it is no error)
    """The reason why a rule does not apply to a subject."""


class Verdict(NamedTuple):
    """The result of one rule; ``error`` is None if it holds."""

    rule: str
    sentence: str
    error: ContractError | None
    crash: str
    """The error that stopped the rule: the user's line and its type, or else the whole of it; empty if none did."""
    left_out: str = ""
    """The reason why the rule does not apply; empty if it does."""


def rule(check: Callable[[Subject], None]) -> Callable[[Subject], str | None]:
    """A check whose every failure is a ``ContractError`` that names the subject and the rule.

    It returns the reason if it does not apply.
    """

    @functools.wraps(check)
    def checked(subject: Subject) -> str | None:
        name = getattr(subject, "id", None) or str(subject)
        rule = f"{rule_name(check)}: {sentence(check)}"
        try:
            check(subject)
        except LeftOut as left_out:
            return str(left_out)
        except Breach as breach:
            raise ContractError(f"{name} breaks {rule} {breach}") from None
        except Exception as error:
            found = user_code.described(error)
            raise ContractError(f"{name} fails under {rule} {found}") from error
        return None

    return checked


def demand(
    good: bool | Tensor, *, expected: str, found: Any, remedy: str, **place: int | None
) -> None:
    """Raise unless ``good``.

    Args:
        good: a condition, or one a row; the error then names the first row without it, and its entry of ``found``.
        expected: the expectation, in words.
        found: the offending value.
        remedy: a sentence.
        place: numbers of row, episode and step, for the error.
    """
    if isinstance(good, Tensor):
        bad = (~per_row(good)).nonzero().flatten()
        if not len(bad):
            return
        row = int(bad[0])
        place = {"row": row, **place}
        found = found[row].tolist() if isinstance(found, Tensor) else found
    elif good:
        return
    where = ", ".join(f"{name} {n}" for name, n in place.items() if n is not None)
    begin = f"At {where}: expected" if where else "Expected"
    raise Breach(f"{begin} {expected}, found {found}. {remedy}")


def demand_same(found: Any, expected: Any, what: str, remedy: str, **place: int | None) -> None:
    """Demand that two trees are the same, bit for bit."""
    difference = first_difference(found, expected)
    if difference is not None:
        row, shown = difference
        demand(False, expected=what, found=shown, remedy=remedy, row=row, **place)


def demand_rows(values: Any, rows: int, what: str, remedy: str, **place: int | None) -> None:
    """Demand that every leaf of a tree is a tensor that leads with ``rows`` rows."""
    for leaf in tree.leaves(values):
        shape = tuple(leaf.shape) if isinstance(leaf, Tensor) else ()
        demand(
            shape[:1] == (rows,),
            expected=f"{what} of tensors [{rows}, ...]",
            found=f"a tensor of shape {shape}" if isinstance(leaf, Tensor) else repr(leaf),
            remedy=remedy,
            **place,
        )


def demand_form(
    tensor: Tensor,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    what: str,
    remedy: str,
    **place: int | None,
) -> None:
    """Demand that ``what`` has this dtype and shape."""
    demand(
        tensor.dtype == dtype and tuple(tensor.shape) == shape,
        expected=f"{what} {dtype} {shape}",
        found=f"{tensor.dtype} {tuple(tensor.shape)}",
        remedy=remedy,
        **place,
    )


def demand_within(
    space: Space, values: Tensor, what: str, remedy: str, **place: int | None
) -> None:
    """Demand that ``values``, one a row, lie in ``space``."""
    low, high = (torch.tensor(bound, dtype=values.dtype) for bound in (space.low, space.high))
    demand(
        (values >= low) & (values <= high),
        expected=f"{what} from {low.tolist()} to {high.tolist()}",
        found=values,
        remedy=remedy,
        **place,
    )


def listed(*checks: Callable[..., str | None]) -> dict[str, Callable[..., str | None]]:
    """Checks by name."""
    return {rule_name(check): check for check in checks}


def verdicts(checks: Mapping[str, Callable[..., str | None]], *subject: Any) -> Iterator[Verdict]:
    """Run all rules one by one and yield the result of each; a broken rule does not stop the others."""
    for name, check in checks.items():
        found, crash, left_out = None, "", ""
        try:
            left_out = check(*subject) or ""
        except ContractError as error:
            found = error
            crash = _crash(error.__cause__) if error.__cause__ else ""
        yield Verdict(name, sentence(check), found, crash, left_out)


def _crash(error: BaseException) -> str:
    said = user_code.described(error)
    return said.removesuffix(str(error)) if user_code.is_at_fault(error) else said


def sentence(check: Callable) -> str:
    """The rule in one sentence: its docstring, in one line."""
    return " ".join((check.__doc__ or "").replace("``", "").split())


def rule_name(check: Callable) -> str:
    """The name of a rule, which is that of its function."""
    return getattr(check, "__name__", repr(check))
