"""Seeds, options and actions of every wrong kind are refused with Gymnasium's own errors, and say what was expected."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.error import Error, InvalidAction

from bridge.tasks.base import Box, Discrete
from bridge.tasks.gymnasium_inputs import (
    action_batch,
    check_options,
    no_render_mode,
    one_seed,
    reset_mask,
    row_count,
    row_seeds,
    seed_bits,
)

BOX = Box((-1.0, -1.0), (1.0, 1.0))


@pytest.mark.parametrize("seed", [3, np.int64(3), np.uint32(3), np.array(3), torch.tensor(3)])
def test_an_integer_of_any_library_is_a_seed(seed: Any) -> None:
    found = one_seed(seed)
    assert (found, type(found)) == (3, int)
    assert row_seeds(seed, 3) == [3, 4, 5]


@pytest.mark.parametrize(
    "seed", [True, np.True_, 1.0, np.float32(1), "1", b"1", [1], {1: 2}, np.array([1, 2]), 1j]
)
def test_what_is_no_integer_is_no_seed(seed: Any) -> None:
    with pytest.raises(Error, match="Seed must be an integer or None"):
        one_seed(seed)
    with pytest.raises(Error, match="Seed must be an integer or None"):
        row_seeds([0, seed], 2)


@pytest.mark.parametrize("seed", [-1, np.int64(-1), -(2**70)])
def test_a_negative_seed_is_refused_in_gymnasiums_words(seed: Any) -> None:
    for call in (
        lambda: one_seed(seed),
        lambda: row_seeds(seed, 2),
        lambda: row_seeds([0, seed], 2),
    ):
        with pytest.raises(Error, match="Seed must be greater or equal to zero, actual value: -"):
            call()


@pytest.mark.parametrize(
    "seed",
    ["ab", b"ab", {1: 2, 3: 4}, {1, 2}, True, 1.5, [True, 1], np.array([1.0, 2.0]), np.eye(2)],
)
def test_rows_are_not_seeded_by_what_is_no_list_of_integers(seed: Any) -> None:
    with pytest.raises(Error, match="Seed must be an integer or None"):
        row_seeds(seed, 2)


def test_seeds_are_one_a_row() -> None:
    assert row_seeds(None, 2) == [None, None]
    assert row_seeds([None, np.uint8(4)], 2) == [None, 4]
    for seeds in ([1], [1, 2, 3], np.array([1, 2, 3]), []):
        with pytest.raises(ValueError, match=f"2 rows, found {len(seeds)} seeds"):
            row_seeds(seeds, 2)


def test_bits_of_a_seed_are_the_seed_where_it_fits() -> None:
    assert [seed_bits(seed) for seed in (0, 1, 2**63 - 1)] == [0, 1, 2**63 - 1]
    large = [seed_bits(seed) for seed in (2**63, 2**63 + 1, 2**64, 2**64 + 1, 2**128)]
    assert all(0 <= bits < 2**63 for bits in large)
    assert len({*large, *range(5)}) == 10


@pytest.mark.parametrize("options", ["x", 3, [("reset_mask", None)], True, np.array([True])])
def test_options_are_a_dictionary(options: Any) -> None:
    with pytest.raises(TypeError, match="Expected options=None or a dictionary"):
        check_options(options)
    with pytest.raises(TypeError, match="Expected options=None or a dictionary"):
        reset_mask(options, 2)


def test_an_unknown_option_is_named() -> None:
    assert check_options(None) == check_options({}) == {}
    with pytest.raises(ValueError, match="takes no options, found 'reset_mask'"):
        check_options({"reset_mask": np.array([True])})
    with pytest.raises(ValueError, match="takes only 'reset_mask', found 3"):
        reset_mask({"reset_mask": np.array([True]), 3: 4}, 1)


def test_the_callers_options_are_left_as_they_are() -> None:
    options = {"reset_mask": np.array([True, False])}
    assert reset_mask(options, 2).tolist() == options["reset_mask"].tolist() == [True, False]


@pytest.mark.parametrize("action", [1, np.int64(1), np.uint8(1), np.array(1), torch.tensor(1)])
def test_a_discrete_action_is_any_integer(action: Any) -> None:
    found = action_batch(Discrete(3), [action], 1)
    assert (found.tolist(), found.dtype) == ([1], torch.int64)


@pytest.mark.parametrize(
    "action", [1.0, np.float64(1), True, None, "1", [1], np.array([1]), 1j, 2**70, [[1], 2]]
)
def test_what_is_no_integer_is_no_discrete_action(action: Any) -> None:
    with pytest.raises(InvalidAction, match=r"Expected actions of shape \(1,\), integers, found"):
        action_batch(Discrete(3), [action], 1)


@pytest.mark.parametrize("action", [-1, 3, np.uint64(2**64 - 1), np.int8(-128)])
def test_a_discrete_action_out_of_range_is_refused(action: Any) -> None:
    with pytest.raises(
        InvalidAction, match=r"Row 0 was given the action .*; actions lie between 0 and 2"
    ):
        action_batch(Discrete(3), [action], 1)


@pytest.mark.parametrize(
    "action",
    [
        [0, 1],
        [0.0, 1.0],
        np.array([0, 1], dtype=np.float16),
        np.array([0, 1]),
        torch.tensor([0.0, 1.0]),
    ],
)
def test_a_real_valued_action_is_of_any_real_dtype(action: Any) -> None:
    found = action_batch(BOX, [action], 1)
    assert (found.tolist(), found.dtype) == ([[0.0, 1.0]], torch.float32)


@pytest.mark.parametrize(
    "action",
    [0.5, [0.5], [0.5, None], [0.5, 1j], [[0.5], 0.5], [True, False], "ab", np.zeros((1, 2))],
)
def test_what_is_no_real_vector_is_no_action_of_a_box(action: Any) -> None:
    with pytest.raises(
        InvalidAction, match=r"Expected actions of shape \(1, 2\), real numbers, found"
    ):
        action_batch(BOX, [action], 1)


@pytest.mark.parametrize("action", [[0.0, 1.001], [-2, 0], [np.nan, 0], [np.inf, 0], [0, 1e300]])
def test_an_action_outside_the_box_is_refused(action: Any) -> None:
    with pytest.raises(InvalidAction, match="Row 0 was given the action"):
        action_batch(BOX, [action], 1)


def test_a_number_of_rows_is_a_positive_integer() -> None:
    assert [row_count(rows) for rows in (1, np.int64(2), 3)] == [1, 2, 3]
    for rows in (0, -1, True, 2.0, "2", None):
        with pytest.raises(ValueError, match="num_envs must be an integer of at least 1"):
            row_count(rows)


def test_only_no_render_mode_is_taken() -> None:
    no_render_mode(None)
    for mode in ("human", "rgb_array", 3):
        with pytest.raises(TypeError, match="expected render_mode=None"):
            no_render_mode(mode)
