"""The first calls that a test makes of a function have their types checked, and later ones pass."""

import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

from bridge.rng import Rows
from bridge.tasks.base import Discrete
from llm_adapt.tokens import Layout
from rl_algos.nets import Gru
from tests import first_calls

checked = jaxtyped(typechecker=first_calls.checked)
RIGHT, WRONG = torch.zeros(2, 3), torch.zeros(2)


@checked
def first_row(x: Float[Tensor, "B n"], n: int = 0) -> Float[Tensor, " n"]:
    return x[0] if n == 0 else x


class Table:
    @property
    @checked
    def width(self) -> int:
        return "wide"  # ty: ignore[invalid-explicit-return]

    @classmethod
    @checked
    def of(cls, x: Float[Tensor, "B n"]) -> int:
        return len(x)


def test_wrong_arguments_and_results_are_refused():
    with pytest.raises(TypeCheckError, match=r"parameters of .*first_row"):
        first_row(WRONG)
    with pytest.raises(TypeCheckError, match=r"return value of .*first_row"):
        first_row(RIGHT, 1)
    with pytest.raises(TypeCheckError, match="width"):
        _ = Table().width
    with pytest.raises(TypeCheckError, match="of"):
        Table.of(WRONG)


@pytest.mark.parametrize("call", [first_row, Table.of])
def test_only_the_first_calls_of_each_test_are_checked(call):
    for _ in range(first_calls.MOST - 1):
        call(RIGHT)
    with pytest.raises(TypeCheckError):
        call(WRONG)
    for _ in range(2):
        call(RIGHT)
    call(WRONG)
    assert call.__no_type_check__  # so that jaxtyping spends no time on it either
    first_calls.begin()  # as before every test
    with pytest.raises(TypeCheckError):
        call(WRONG)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Rows(torch.zeros(2, 2)),
        lambda: Layout(Discrete(2), "no space"),
        lambda: Gru(1, 1, 1).step(torch.zeros(1), torch.zeros(1)),
    ],
)
def test_all_packages_are_checked(call):
    with pytest.raises(TypeCheckError):
        call()
