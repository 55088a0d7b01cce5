"""Measures of a sequence, against matrices of scores that are known."""

import numpy as np
import pytest

from experiments.studies.concerns import sequence
from experiments.studies.concerns.making import Maker
from experiments.studies.concerns.mitigations import PLAIN, Mitigation
from experiments.studies.concerns.sequence import ALONE, Sequence
from experiments.studies.concerns.testbeds import TESTBEDS

BED = TESTBEDS[-1]
R = np.array([[0.9, 0.1, 0.2], [0.5, 0.8, 0.3], [0.3, 0.6, 0.7]])
"""Score of each of three tasks (columns) after each (rows)."""


def test_forgetting_and_transfer_are_those_of_the_matrix() -> None:
    scores = {(("plain", count + 1), seed): R[count] for count in range(3) for seed in (0, 1)}
    scores |= {((ALONE, task), seed): np.full(3, 0.75) for task in (1, 2) for seed in (0, 1)}

    kept = sequence.read(scores)["plain"]
    assert kept.last.mean == pytest.approx((0.3 + 0.6 + 0.7) / 3)
    assert kept.forgotten.mean == pytest.approx(((0.9 - 0.3) + (0.8 - 0.6)) / 2)
    assert kept.forward.mean == pytest.approx((0.1 + 0.3) / 2)
    assert kept.learned.mean == pytest.approx((0.8 + 0.7) / 2 - 0.75)


def test_intervals_are_over_seeds() -> None:
    scores = {
        (("plain", count + 1), seed): R[count] + 0.1 * seed
        for count in range(3)
        for seed in (0, 1, 2)
    }
    scores |= {((ALONE, task), seed): np.full(3, 0.75) for task in (1, 2) for seed in (0, 1, 2)}

    kept = sequence.read(scores)["plain"]
    assert kept.last.half == pytest.approx(0.1 * 4.303 / 3**0.5, rel=1e-3)
    assert kept.forgotten.half == pytest.approx(0, abs=1e-9)


def test_the_first_tasks_have_their_share_of_the_budget(tmp_path) -> None:
    ewc = Mitigation("ewc", settings="keep=ewc")
    measure = Sequence(Maker(tmp_path, 100), BED, (0,), {PLAIN: 0.01, ewc: 10.0}, 0.01, {})
    cells = {key: cell for (key, _), cell in measure.cells().items()}

    assert len(cells) == 2 * 4 + 4
    assert cells["plain", 2].spec == "mtrl_sequence:hidden=64,lr=0.01,only=0+1"
    assert cells["plain", 2].training.budget.amount == BED.steps * 2 / 5
    assert cells["ewc", 3].spec == "mtrl_sequence:hidden=64,keep=ewc,lr=0.03,only=0+1+2,strength=10"
    assert cells[ALONE, 4].spec == "mtrl:hidden=64,lr=0.01,only=4"
    assert cells[ALONE, 4].training.budget.amount == BED.steps / 5


def test_the_table_says_which_sign_is_better() -> None:
    scores = {(("plain", count + 1), seed): R[count] for count in range(3) for seed in (0, 1)}
    scores |= {((ALONE, task), seed): np.full(3, 0.75) for task in (1, 2) for seed in (0, 1)}
    head, _, row = sequence.text(sequence.read(scores)).splitlines()[-3:]

    assert "forgotten (-) | forward transfer (+)" in head
    assert row == "| plain | 0.533 ±0.000 | 0.400 ±0.000 | 0.200 ±0.000 | 0.000 ±0.000 |"
