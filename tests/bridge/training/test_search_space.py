"""Search spaces: drawn by seed, within bounds, and the same for however long a search."""

import math
from dataclasses import dataclass

import pytest
from scipy import stats

from bridge.training.search_space import Choice, LogUniform, draw


@dataclass(frozen=True)
class Settings:
    lr: float = 1.0
    depth: int = 2
    other: str = "kept"


SPACE = {"lr": LogUniform(1e-4, 1e-1), "depth": Choice((1, 2, 3))}


def test_the_first_is_the_start_and_a_longer_search_begins_with_the_shorter():
    start = Settings(other="mine")
    few, many = draw(SPACE, start, seed=0, count=3), draw(SPACE, start, seed=0, count=9)
    assert few == many[:3]
    assert few[0] == start
    assert {one.other for one in many} == {"mine"}
    assert draw(SPACE, start, seed=1, count=3)[1:] != few[1:]


def test_draws_have_the_law_that_the_space_names():
    drawn = draw(SPACE, Settings(), seed=0, count=3001)[1:]
    scaled = [math.log(one.lr / 1e-4) / math.log(1e3) for one in drawn]
    assert stats.kstest(scaled, "uniform").pvalue > 1e-3
    counts = [sum(one.depth == depth for one in drawn) for depth in (1, 2, 3)]
    assert stats.chisquare(counts).pvalue > 1e-3
    assert (
        abs(stats.spearmanr(scaled, [one.depth for one in drawn]).statistic) < 0.07
    )  # 4 standard errors
    assert all(float(f"{one.lr:.1e}") == one.lr for one in drawn)


def test_a_space_of_something_else_is_refused():
    with pytest.raises(ValueError, match="Settings has no field width"):
        draw({"width": Choice((1,))}, Settings(), seed=0, count=2)
