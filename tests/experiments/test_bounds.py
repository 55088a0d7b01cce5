"""Numbers beyond float32, int64 or memory are refused, with the bound, from specs and flags alike."""

from typing import Annotated, get_origin, get_type_hints

import pytest

from bridge.tasks import FAMILIES
from experiments.registry import LEARNERS, TEST_TIME_METHODS
from tests.experiments.commands import run

MILLION, FLOAT = "must be at most 1,000,000", "(float32)"
CASES = [
    (["train", "rl2:lr=1e99", "--out", "x"], FLOAT),
    (["train", "rl2:lr=1e-99", "--out", "x"], FLOAT),
    (["train", "rl2:minibatches=2147483648", "--out", "x"], MILLION),
    (["train", "rl2:hidden=1000000000", "--out", "x"], "must be at most 16,384"),
    (["train", "icl_rl:layers=100000", "--out", "x"], "must be at most 256"),
    (["train", "icl_ad:hidden=1000000", "--out", "x"], "must be at most 16,384"),
    (["train", "icl_dpt:heads=100000", "--out", "x"], "must be at most 256"),
    (["train", "maml", "--family", "tabular_mdp:n=1000000000000000000000", "--out", "x"], MILLION),
    (
        ["train", "rl2", "--seed", str(2**64), "--out", "x"],
        "--seed must be at most 9,223,372,036,854,775,807",
    ),
    (
        ["evaluate", "random", "--eval-seed", str(2**63)],
        "--eval-seed must be at most 9,223,372,036,854,775,807",
    ),
    (["evaluate", "random", "--family", "tabular_mdp:n=1000000000000000000000"], MILLION),
    (["evaluate", "opsrl:samples=1000000000", "--family", "tabular_mdp"], MILLION),
    (["evaluate", "ucb1:c=1e99"], FLOAT),
    (["evaluate", "random", "--trials", str(10**12)], "--trials must be at most 1,000,000,000"),
    (["evaluate", "random", "--trials", "0"], "--trials must be 1 or more"),
    (["evaluate", "random", "--track", "F", "--shots", str(2**70)], "--shots " + MILLION),
    (
        ["compare", "--methods", "rl2", "--seeds", str(2**64), "--out", "x"],
        "--seeds must be at most",
    ),
    (["finetune", "run", "--lr", "1e99", "--out", "x"], FLOAT),
    (["finetune", "run", "--rank", str(2**31), "--out", "x"], "--rank " + MILLION),
    (["data", "random", "--rows", str(2**63), "--out", "x"], "--rows " + MILLION),
    (["tune", "rl2", "--configs", str(10**9), "--out", "x"], "--configs must be at most 10,000"),
    (["train", "rl2", "--budget", "1e19", "--out", "x"], "from 1 to 1e+18"),
]


@pytest.mark.parametrize(("line", "message"), CASES)
def test_a_number_beyond_its_bound_is_refused_with_the_bound(
    line, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert message in run(*line, code=2, capsys=capsys)[1]
    assert not list(tmp_path.iterdir())


def test_a_lack_of_memory_is_no_fault_of_ours(monkeypatch, capsys):
    from experiments.commands import list as listing

    def hungry(*_):
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000000 bytes."
        )

    monkeypatch.setattr(listing, "entries", hungry)
    _, err = run("list", code=2, capsys=capsys)
    assert "more memory than there is" in err


@pytest.mark.parametrize("name", [*FAMILIES, *LEARNERS, *TEST_TIME_METHODS])
def test_a_new_default_keeps_the_bounds_of_its_field(name):
    """A subclass that declares a field again with a plain ``float`` or ``int`` would lose them."""
    method = LEARNERS.get(name) or TEST_TIME_METHODS.get(name)
    cls = method.config if method else FAMILIES[name]
    hints = get_type_hints(cls, include_extras=True)
    bounded = 0
    for base in cls.__mro__[:-1]:
        for field, hint in get_type_hints(base, include_extras=True).items():
            if get_origin(hint) is Annotated:
                bounded += 1
                assert get_origin(hints[field]) is Annotated, field
    assert bounded
