"""The Pareto front: weights and mitigations on two opposite tasks."""

import numpy as np
import pytest

from experiments.studies.concerns import front
from experiments.studies.concerns.front import MITIGATIONS, WEIGHTS, Front
from experiments.studies.concerns.making import Maker


@pytest.fixture
def measure(tmp_path) -> Front:
    return Front(Maker(tmp_path, 100), (0, 1, 2), 0.03)


def score(cell) -> np.ndarray:
    """Weights trade a score of 1; mitigations have 0.25 of each. Seeds differ by 0.01."""
    first, plus, second = cell.method.removeprefix("front ").partition("+")
    share = float(first) / (float(first) + float(second)) if plus else 0.25
    return np.array([share, 1 - share if plus else 0.25]) + 0.01 * (cell.seed - 1)


def test_a_point_has_the_scores_of_both_tasks(measure) -> None:
    points = front.read({key: score(cell) for key, cell in measure.cells().items()})

    found = {point.name: tuple(x.mean for x in point.score) for point in points}
    assert tuple(found) == (*WEIGHTS, *MITIGATIONS)
    assert found["3+1"] == pytest.approx((0.75, 0.25))
    assert found["pcgrad"] == pytest.approx((0.25, 0.25))
    assert points[0].score[0].half == pytest.approx(0.01 * 4.303 / 3**0.5, rel=1e-3)


def test_weights_are_those_of_task_0_and_1(measure) -> None:
    assert "combine=static,weights=9+1" in measure.cells()["9+1", 0].spec


def test_the_front_is_drawn(measure, tmp_path, drawn) -> None:
    table = measure.show(score, tmp_path)
    assert "| 1+3 | 0.250 ±0.025 | 0.750 ±0.025 |" in table
    (figure,) = drawn
    static, *others = figure.axes[0].containers
    assert static.lines[0].get_xydata()[1] == pytest.approx([0.25, 0.75])
    assert [tuple(point.lines[0].get_xydata()[0]) for point in others] == [
        pytest.approx((0.25, 0.25))
    ] * len(MITIGATIONS)
