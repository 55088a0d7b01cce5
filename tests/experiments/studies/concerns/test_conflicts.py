"""Conflicts over training: read from the logs of both ends of each dial."""

import dataclasses

import pytest

from bridge.training import train_log
from experiments.studies.concerns import conflicts
from experiments.studies.concerns.conflicts import Conflicts
from experiments.studies.concerns.making import Maker
from experiments.studies.concerns.testbeds import TESTBEDS

SCALES, OPPOSED, *_ = TESTBEDS


@pytest.fixture
def measure(tmp_path, monkeypatch) -> Conflicts:
    """Four updates of two seeds; conflicts rise from 0 at the top of the dial, by seed, and stay 0.25 at its bottom."""

    def log(run):
        seed = int(run.name[-1])
        share = [0.25] * 4 if "opposed" not in run.name else [0.0, 0.2, 0.4 + 0.1 * seed, 0.8]
        return [{"conflicts": x, "cosine": -x / 2} for x in share], True

    monkeypatch.setattr(train_log, "read", log)
    return Conflicts(Maker(tmp_path, 100), (OPPOSED,), (0, 1), {"opposed": 0.03})


def test_the_log_is_read_by_seed_and_update(measure) -> None:
    found = conflicts.read(measure.cells())

    top = found[OPPOSED, OPPOSED.top]
    assert top.share.tolist() == [[0.0, 0.2, 0.4, 0.8], [0.0, 0.2, 0.5, 0.8]]
    assert (top.cosine == -top.share / 2).all()
    assert (found[OPPOSED, OPPOSED.bottom].share == 0.25).all()


def test_trainings_of_unequal_length_are_laid_beside_one_another(measure, monkeypatch) -> None:
    """Episodes that end early: seed 1 has seven updates, of which four are taken, the first and the last included."""
    monkeypatch.setattr(
        train_log,
        "read",
        lambda run: (
            [{"conflicts": i, "cosine": 0} for i in range(7 if "s1" in run.name else 4)],
            True,
        ),
    )
    top = conflicts.read(measure.cells())[OPPOSED, OPPOSED.top]
    assert top.share.tolist() == [[0, 1, 2, 3], [0, 2, 4, 6]]


def test_the_table_has_the_halves_of_training(measure, tmp_path) -> None:
    table = measure.show(lambda cell: pytest.fail("no score is needed"), tmp_path)

    low, high = (line.split(" | ") for line in table.splitlines()[-2:])
    assert low == ["| opposed", "0", "0.250 ±0.000", "0.250 ±0.000", "-0.125 ±0.000 |"]
    assert [cell.split(" ±")[0] for cell in high[2:]] == ["0.100", "0.625", "-0.181"]


def test_gradients_are_averaged_while_they_are_observed(tmp_path) -> None:
    measure = Conflicts(Maker(tmp_path, 100), (SCALES,), (3,), {"scales": 0.1})
    cells = measure.cells()

    assert [value for (_, value), _ in cells] == ["0", "2"]
    assert {cell.spec for cell in cells.values()} == {
        "mtrl:advantages=raw,combine=equal,hidden=64,hidden_ids=0,lr=0.1"
    }


def test_both_ends_are_drawn(measure, tmp_path, drawn) -> None:
    wide = dataclasses.replace(
        measure, testbeds=(OPPOSED, SCALES), rates={"opposed": 0.03, "scales": 0.1}
    )
    wide.show(lambda cell: pytest.fail("no score is needed"), tmp_path)
    (figure,) = drawn
    bottom, top = figure.axes[0].get_lines()
    assert bottom.get_ydata().tolist() == [0.25] * 4
    assert top.get_ydata() == pytest.approx([0.0, 0.2, 0.45, 0.8])
    assert top.get_xdata() == pytest.approx([0, 1 / 3, 2 / 3, 1])
