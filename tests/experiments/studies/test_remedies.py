"""The study of remedies: scores by number of training tasks, and what each remedy changes."""

import pytest

from bridge.errors import UserError
from experiments.studies.remedies import study
from experiments.studies.remedies.diversity import Diversity
from experiments.studies.remedies.repairs import Repairs
from experiments.studies.remedies.study import SIZES, Size


@pytest.fixture
def diversity(tmp_path):
    return Diversity(
        "bandit", ("rl2", "maml"), (16, 256), ("id", "train"), (0, 1), 10, 1.0, tmp_path
    )


@pytest.fixture
def repairs(tmp_path):
    return Repairs("bandit", ("rl2", "icl_rl", "maml"), ("gap",), 10, (0, 4), 0.5, tmp_path)


def test_runs_on_the_unlimited_distribution_are_those_that_ship(diversity):
    trained = {cell.family.id for cell in diversity.cells() if cell.training}
    assert trained == {f"bandit:tasks={tasks},k=5,n=10" for tasks in (16, 256)}
    shipped = {cell.spec for cell in diversity.cells() if cell.spec.startswith("zoo:")}
    assert shipped == {
        f"zoo:{method}/bandit/{seed}" for method in ("rl2", "maml") for seed in (0, 1)
    }


def test_what_knows_the_training_tasks_is_beside_each_number_of_them(diversity):
    played = {cell.family.id for cell in diversity.cells() if cell.spec == "bayes_tasks"}
    assert played == {f"bandit:tasks={tasks},k=5,n=10" for tasks in (16, 256)}


def test_budgets_are_equal(repairs):
    """At a share of the budgets, runs that ship would have more than the others: none is played."""
    at_once, later = repairs.cells()
    assert not [cell for cell in (*at_once, *later) if "zoo:" in cell.spec]
    budgets = {
        (cell.method, cell.family.id): cell.training.budget.amount
        for cell in at_once
        if cell.training
    }
    assert budgets["rl2", "bandit:wide=gap,k=5,n=10"] == 2e6
    assert budgets["rl2:replay=0.5", "bandit:k=5,n=10"] == 2e6
    assert budgets["rl2", "bandit:k=5,n=10"] == 2e6
    assert budgets["icl_rl", "bandit:k=5,n=10"] == 1.5e6
    assert {cell.method for cell in later} == {"lora_reward:run=icl_rl", "icl_then_lora:run=icl_rl"}


def test_what_is_tuned_at_test_has_been_trained_before(repairs):
    at_once, later = repairs.cells()
    trained = {str(cell.training.out) for cell in at_once if cell.training}
    runs = {cell.spec.partition("run=")[2] for cell in later}
    assert runs <= trained


@pytest.mark.slow
@pytest.mark.usefixtures("rendered")
def test_it_trains_plays_and_prints(tmp_path, capsys):
    size = SIZES["smoke"]
    study.run(size, tmp_path)
    printed = capsys.readouterr().out
    assert "| distinct training tasks | 16 | 256 | unlimited |" in printed
    assert "| rl2 | wider training |" in printed
    assert (tmp_path / "figures" / "diversity.svg").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    study.run(size, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == before
    with pytest.raises(UserError, match="holds another study"):
        study.run(Size(**(vars(size) | {"trials": 200})), tmp_path)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_cells_of_families_with_these_axes_and_recipes(size, tmp_path):
    for where in SIZES[size].repaired:
        at_once, later = Repairs(*where, SIZES[size].seeds, 1.0, tmp_path).cells()
        assert at_once
        assert bool(later) == ("icl_rl" in where.methods)
        folders = [cell.training.out for cell in at_once if cell.training]
        assert len(set(folders)) == len(folders)
