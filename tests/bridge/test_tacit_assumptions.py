"""What we rely on in other libraries without their promising it; where one of these fails, look for the reliance."""

import random
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import optree
import pytest
import torch
from gymnasium.envs import registration
from gymnasium.vector import AutoresetMode, SyncVectorEnv

# --- torch ------------------------------------------------------------------------------------------------------------


def test_int64_wraps_around_and_shifts_copy_the_sign() -> None:
    """``bridge.rng`` hashes with it."""
    big = torch.tensor([2**63 - 1])
    assert (big + 1).item() == -(2**63)
    assert (big * 3).item() == (3 * (2**63 - 1) + 2**63) % 2**64 - 2**63
    assert (torch.tensor([-(2**63)]) >> 1).item() == -(2**62)


@pytest.mark.parametrize("function", [torch.special.ndtri, torch.log, torch.exp, torch.sqrt])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elementwise_maths_does_not_depend_on_the_place_in_a_batch(
    function: Any, dtype: torch.dtype
) -> None:
    """Vectorised bodies and scalar tails round alike; ``torch.pow`` does not, which is why ``gamma`` avoids it."""
    x = (torch.arange(1, 1001, dtype=torch.float64) / 1001).to(dtype)
    whole = function(x)
    for first in range(40):
        assert torch.equal(function(x[first : first + 1]), whole[first : first + 1])
        assert torch.equal(function(x[first:]), whole[first:])


@pytest.mark.parametrize("width", [3, 10, 100, 1000])
def test_reductions_of_a_row_do_not_depend_on_the_batch(width: int) -> None:
    """Row alone == row in a batch needs it of sums, cumulative sums and softmaxes over the last dimension."""
    x = (
        torch.special.ndtri(torch.arange(1.0, 1 + 64 * width) / (65 * width))
        .view(64, width)
        .flip(0)
        .contiguous()
    )
    for function in (
        lambda v: v.sum(-1),
        lambda v: v.cumsum(-1),
        lambda v: v.softmax(-1),
        lambda v: v.mean(-1),
    ):
        whole = function(x)
        for rows in (slice(0, 1), slice(5, 6), slice(3, 20)):
            assert torch.equal(function(x[rows]), whole[rows])


def test_index_add_adds_in_the_order_of_the_index() -> None:
    """The evaluator's sums do not depend on chunks because of it."""
    values = torch.tensor([1e16, 1.0, -1e16, 1.0], dtype=torch.float64)
    whole = torch.zeros(1, dtype=torch.float64).index_add_(
        0, torch.zeros(4, dtype=torch.int64), values
    )
    one_by_one = torch.zeros(1, dtype=torch.float64)
    for value in values:
        one_by_one += value
    assert torch.equal(whole, one_by_one)


# --- optree -----------------------------------------------------------------------------------------------------------


def test_trees_keep_their_types_skip_none_and_order_dicts_by_key() -> None:
    """``bridge.memory`` zips leaves of two memories."""

    class Pair(NamedTuple):
        a: object
        b: object

    tree: Any = {"z": Pair(1, None), "a": (2, [3])}
    made: Any = optree.tree_map(lambda x: x + 1, tree)
    assert made == {"z": Pair(2, None), "a": (3, [4])}
    assert isinstance(made["z"], Pair)
    assert optree.tree_leaves(tree) == [2, 3, 1]


# --- gymnasium --------------------------------------------------------------------------------------------------------


def test_gymnasium_loads_no_plugins_but_imports_the_module_that_an_id_names() -> None:
    """So ``bridge.tasks.to_gymnasium`` registers when it is imported, and needs no entry point."""
    assert not hasattr(registration, "load_plugin_envs")
    assert (
        registration._find_spec("bridge.tasks.to_gymnasium:metabridge/bandit-v0").id
        == "metabridge/bandit-v0"
    )


def test_disabled_autoreset_resets_the_masked_rows_and_keeps_the_other_observations() -> None:
    envs = SyncVectorEnv(
        [lambda: gymnasium.make("CartPole-v1")] * 2, autoreset_mode=AutoresetMode.DISABLED
    )
    first, _ = envs.reset(seed=0)
    again, _ = envs.reset(seed=7, options={"reset_mask": np.array([False, True])})
    np.testing.assert_array_equal(again[0], first[0])
    alone, _ = gymnasium.make("CartPole-v1").reset(seed=8)  # row 1 of seed 7
    np.testing.assert_array_equal(again[1], alone)


# --- the run-time type checker of these tests -------------------------------------------------------------------------


def test_the_type_checker_draws_from_pythons_generator() -> None:
    """So the conformance kit asks whether results depend on that generator, not whether it moves."""
    from beartype import beartype

    @beartype
    def checked(values: list[int]) -> None:
        del values

    state = random.getstate()
    checked(list(range(100)))
    assert random.getstate() != state
