"""Budgets: what a user may write, and what is spent of one."""

import pytest

from bridge.errors import UserError
from bridge.training.budget import Budget, Cost


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("5000000", 5e6, "steps"),
        ("5e6", 5e6, "steps"),
        ("2.5e+6steps", 2.5e6, "steps"),
        ("5_000_000", 5e6, "steps"),
        ("600s", 600.0, "seconds"),
        ("90.5 seconds", 90.5, "seconds"),
        ("1e15flops", 1e15, "flops"),
        ("1E15 FLOPs", 1e15, "flops"),
    ],
)
def test_reads_an_amount_and_its_unit(text, amount, unit):
    assert Budget.parse(text) == Budget(amount, unit)


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "five", "5 hours", "nan", "1e999", "5,000", "e6", "1_e", "s"]
)
def test_refuses_everything_else(text):
    with pytest.raises(UserError, match="number above 0 of steps, seconds or flops"):
        Budget.parse(text)


def test_what_is_spent_is_in_the_unit_of_the_budget():
    cost = Cost(env_steps=10, grad_steps=3, seconds=5.0, flops=200.0)
    assert [cost.share(Budget(100.0, unit)) for unit in ("steps", "seconds", "flops")] == [
        0.1,
        0.05,
        2.0,
    ]


def test_says_what_it_is():
    assert str(Budget(5e6)) == "5,000,000 environment steps"
    assert str(Budget(1e15, "flops")) == "1e+15 flops"


@pytest.mark.parametrize(
    ("budget", "spec"),
    [
        (Budget(5e6), "5000000"),
        (Budget(90.5, "seconds"), "90.5s"),
        (Budget(1e15, "flops"), "1000000000000000.0flops"),
        (Budget(1.5e25, "flops"), "1.5e+25flops"),
    ],
)
def test_its_spec_is_read_back(budget, spec):
    assert budget.spec == spec
    assert Budget.parse(spec) == budget
