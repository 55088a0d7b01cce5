"""The transfer matrix: what pairs of tasks are compared with."""

import numpy as np
import pytest

from experiments.studies.concerns import transfer
from experiments.studies.concerns.making import Maker
from experiments.studies.concerns.transfer import TASKS, WIDTHS, Transfer


@pytest.fixture
def measure(tmp_path) -> Transfer:
    return Transfer(Maker(tmp_path, 100), (0, 1), 0.03)


def score(cell) -> np.ndarray:
    """Alone: 0.5 with networks of the same size, 0.75 with small ones. Task 0 gains 0.25 from task 2, and loses
    0.125 to task 3, which gains 0.0625; other pairs are as good as one task alone. Seeds differ by 0.01."""
    size, _, only = cell.method.partition(" size ")
    found = np.full(TASKS, 0.5 if size == "the same" else 0.75)
    found[0] += {"0+2": 0.25, "0+3": -0.125}.get(only, 0.0)
    found[3] += {"0+3": 0.0625}.get(only, 0.0)
    return found + 0.01 * cell.seed


def test_gains_are_by_the_task_that_gains(measure) -> None:
    gains = transfer.read({key: score(cell) for key, cell in measure.cells().items()})

    expected = {(2, 0): 0.25, (3, 0): -0.125, (0, 3): 0.0625}
    for (other, task), gain in gains["the same size"].items():
        assert gain.mean == pytest.approx(expected.get((other, task), 0.0))
    for pair, gain in gains["half the size"].items():
        assert gain.mean == pytest.approx(gains["the same size"][pair].mean - 0.25)
    assert len(gains["the same size"]) == TASKS * (TASKS - 1)


def test_a_pair_has_the_gradient_steps_and_the_episodes_of_each_of_its_tasks(measure) -> None:
    """Twice the environment steps, in batches of twice as many slots."""
    cells = measure.cells()
    alone, pair = (cells[("the same size", tasks), 0].training for tasks in ((1,), (1, 3)))

    assert pair.budget.amount == 2 * alone.budget.amount
    assert "only=1,tasks_per_update=20" in alone.method
    assert "only=1+3,tasks_per_update=40" in pair.method


def test_two_networks_of_half_the_size_cost_as_much_as_one() -> None:
    cost = {size: 8 * width + width * width + width * 4 for size, width in WIDTHS.items()}
    assert 2 * cost["half the size"] == pytest.approx(cost["the same size"], rel=0.02)


def test_the_matrix_has_rows_of_the_other_task(measure, tmp_path) -> None:
    same, half = measure.show(score, tmp_path).split("Less networks of ")[1:]

    assert same.splitlines()[-3].startswith("| task 2 | 0.250 ±")
    row = half.rstrip().splitlines()[-1].split(" | ")
    assert row[0] == "| task 3"
    assert row[1].startswith("-0.375 ±")
    assert row[-1].strip(" |") == ""


def test_both_matrices_are_drawn(measure, tmp_path, drawn) -> None:
    measure.show(score, tmp_path)
    (figure,) = drawn
    same, half = (panel.images[0].get_array() for panel in figure.axes[:2])
    assert (same[2, 0], half[3, 0]) == pytest.approx((0.25, -0.375))
    assert [text.get_text() for text in figure.axes[0].texts].count("+0.25") == 1
