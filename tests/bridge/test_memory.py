"""Copying, picking and keeping the rows of any memory."""

from typing import Any, NamedTuple

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bridge import memory as tree


class Inner(NamedTuple):
    a: Tensor
    b: Tensor


def memory(rows: int) -> dict[str, Any]:
    """A tree with a NamedTuple, a tuple, an empty leaf and a boolean one; entry i of every leaf tells of row i."""
    i = torch.arange(rows)
    return {
        "inner": Inner(i.clone(), i[:, None].float() + torch.arange(3)),
        "pair": (i % 2 == 0, torch.zeros(rows, 0)),
        "deep": [{"cube": i[:, None, None, None].expand(rows, 2, 1, 2).clone()}],
    }


def same(a: object, b: object) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True))


@given(st.integers(1, 5), st.integers(1, 4))
def test_fork_repeats_each_row_side_by_side(rows: int, copies: int) -> None:
    forked = tree.fork(memory(rows), copies)
    assert forked["inner"].a.tolist() == [row for row in range(rows) for _ in range(copies)]
    for copy in range(copies):
        assert same(tree.select(forked, torch.arange(rows) * copies + copy), memory(rows))


def test_a_fork_shares_no_storage() -> None:
    for copies in (1, 2):
        original = memory(3)
        for leaf in tree.leaves(tree.fork(original, copies)):
            leaf.fill_(7)
        assert same(original, memory(3))


def test_select_takes_rows_in_the_order_asked_for() -> None:
    picked = tree.select(memory(5), torch.tensor([4, 0, 0]))
    assert picked["inner"].a.tolist() == [4, 0, 0]
    assert picked["deep"][0]["cube"].shape == (3, 2, 1, 2)
    assert same(tree.select(memory(5), slice(1, 3)), tree.select(memory(5), torch.tensor([1, 2])))


def test_places_are_taken_within_each_row() -> None:
    recorded = {"a": torch.arange(6).view(2, 3), "b": torch.arange(12.0).view(2, 3, 2)}
    found = tree.places(recorded, torch.tensor([[2, 0], [1, 1]]))
    assert found["a"].tolist() == [[2, 0], [4, 4]]
    assert found["b"].tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_where_keeps_the_old_rows_that_are_not_live(live: list[bool]) -> None:
    old, new = memory(len(live)), tree.select(memory(9), slice(4, 4 + len(live)))
    kept = tree.where(torch.tensor(live), new, old)
    for row, alive in enumerate(live):
        one = slice(row, row + 1)
        assert same(tree.select(kept, one), tree.select(new if alive else old, one))


def test_where_nobody_can_be_dead_the_new_memory_is_taken_as_it_is() -> None:
    new = memory(2)
    assert tree.where(None, new, memory(2)) is new


def test_none_is_no_leaf() -> None:
    """An optional part of a memory, or of a Step, may be missing."""
    partial = {"missing": None, "there": torch.ones(2)}
    assert len(tree.leaves(partial)) == 1
    assert tree.fork(partial, 2)["missing"] is None
    assert tree.where(torch.tensor([True, False]), partial, partial)["missing"] is None
