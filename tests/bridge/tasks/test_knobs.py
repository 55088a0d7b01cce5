"""What varies between the tasks of a Gymnasium environment."""

import numpy as np
import pytest
import torch

from bridge.errors import UserError
from bridge.rng import Rows
from bridge.tasks.knobs import Knob, parse, sorted_parts, spelled

NOISE = Rows.of(0, torch.arange(4000))


def test_places_and_names():
    found = parse(
        "length=0.4..0.8+make.gravity=9..11+reset.low=-0.5..-.1+opt.x=1e-3..1", "vary=..."
    )
    assert {key: (knob.place, knob.name) for key, knob in found.items()} == {
        "length": ("attribute", "length"),
        "make.gravity": ("make", "gravity"),
        "reset.low": ("reset", "low"),
        "opt.x": ("attribute", "opt.x"),
    }
    assert (found["reset.low"].low, found["reset.low"].high) == (-0.5, -0.1)
    assert found["opt.x"].low == 1e-3


def test_ranges_are_drawn_uniformly():
    drawn = parse("length=0.4..0.8", "")["length"].draw(NOISE)
    assert 0.4 < drawn.min() < 0.401
    assert 0.799 < drawn.max() < 0.8
    assert drawn.mean() == pytest.approx(0.6, abs=4 * 0.4 / 12**0.5 / 4000**0.5)


def test_lists_are_drawn_from_all_their_values():
    (listed,) = parse("make.map=4x4|8x8|true|1.5|3|1_0", "").values()
    drawn = [listed.value(x) for x in listed.draw(NOISE).tolist()]
    assert set(drawn) == {"4x4", "8x8", True, 1.5, 3, "1_0"}
    assert {type(value) for value in drawn} == {str, bool, float, int}
    assert listed.value(1.0) == "8x8"


def test_ranges_without_a_point_are_of_real_numbers_too():
    drawn = parse("gravity=5..15", "")["gravity"].draw(NOISE)
    assert len(drawn.unique()) > 3000


@pytest.mark.parametrize(
    ("low", "high", "trained", "nearest", "farthest"),
    [(0.8, 1.6, 0.6, (0.8, 1.0), (1.4, 1.6)), (0.1, 0.5, 0.6, (0.4, 0.5), (0.1, 0.2))],
)
def test_levels_are_quarters_from_the_near_end(low, high, trained, nearest, farthest):
    knob = Knob("length", low, high)
    first, last = (knob.quarter(level, trained) for level in (1, 4))
    assert (first.low, first.high) == pytest.approx(nearest)
    assert (last.low, last.high) == pytest.approx(farthest)


def test_mappings_are_spelled_as_text():
    given = {"length": (0.4, 0.8), "n": [1, 3], "make.map_name": ["4x4", "8x8"]}
    assert spelled(given) == "length=0.4..0.8+make.map_name=4x4|8x8+n=1|3"
    assert spelled({"a": (np.float32(0.5), np.int64(2))}) == "a=0.5..2"
    assert spelled({"a": (0.5, 1e6), "b": (1e-7, 1.0)}) == "a=0.5..1e06+b=1e-07..1"
    assert sorted_parts("b=1..2 + a=0..1") == "a=0..1+b=1..2"
    assert spelled({}) == ""
    with pytest.raises(UserError, match="may not hold any of"):
        spelled({"a": ["x|y"]})


def test_what_is_spelled_is_read():
    given = {"a": (-1e6, 1e-7), "b": (0.1, 0.30000000000000004)}
    found = parse(sorted_parts(spelled(given)), "")
    assert {key: (knob.low, knob.high) for key, knob in found.items()} == given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("length", "Expected a name and a range"),
        ("0length=1..2", "Expected a name and a range"),
        ("length=0.4..", "no range of two numbers"),
        ("length=a..b", "no range of two numbers"),
        ("length=0.8..0.4", r"ends before it begins. Write length=0.4..0.8"),
        ("length=1..2+length=2..3", "occurs twice"),
    ],
)
def test_what_is_no_knob_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse(text, f"vary={text}")
