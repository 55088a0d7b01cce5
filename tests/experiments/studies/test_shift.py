import csv
from dataclasses import replace

import pytest

from bridge.errors import UserError
from bridge.evaluation.footprint import MEMORY
from bridge.tasks import family as make_family
from experiments.studies.shift import study
from experiments.studies.shift.study import SIZES, Study
from experiments.zoo import recipes

BANDIT = "bandit:k=5,n=10"
METHODS = ("random", "oracle", "bayes", "bayes_train", "ucb1", "zoo:maml")


def shift(out, *axes, methods=METHODS, family=BANDIT):
    return Study(
        family=make_family(family),
        axes=axes,
        methods=methods,
        size=SIZES["smoke"],
        out=out,
        memory=MEMORY,
    )


@pytest.mark.usefixtures("rendered")
def test_it_plays_every_level_and_prints_scores_and_parts(tmp_path, capsys):
    assert study.run(shift(tmp_path, "prior", "changes")) == 0
    printed = capsys.readouterr().out
    assert "| method | id | 0.5 | 1 | 2 | 4 | works at |" in printed
    assert (
        "Falls from id to shift/prior/4, beside a learner of the training distribution:" in printed
    )
    assert "beside a learner of the training tasks" not in printed
    assert "Falls from id to shift/changes/4" not in printed
    assert max(map(len, printed.splitlines()[2:-1])) <= 120
    with (tmp_path / "tables" / "shift.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {(row["split"], row["method"], row["measure"]): float(row["mean"]) for row in rows}
    for method in ("ucb1", "zoo:maml"):
        parts = [found["shift/prior/4", method, part] for part in ("tasks", "prior", "method")]
        assert sum(parts) == pytest.approx(found["shift/prior/4", method, "fall"], abs=1e-5)
    assert ("shift/changes/4", "bayes", "score") not in found
    assert ("shift/changes/4", "bayes_train", "score") in found
    assert list((tmp_path / "figures").glob("*shift*.svg"))


@pytest.mark.usefixtures("rendered")
def test_fixed_training_tasks_have_a_learner_of_their_own(tmp_path, capsys):
    methods = ("random", "oracle", "ucb1")
    assert (
        study.run(shift(tmp_path, "prior", methods=methods, family="bandit:k=5,n=10,tasks=16")) == 0
    )
    assert "beside a learner of the training tasks alone:" in capsys.readouterr().out
    with (tmp_path / "tables" / "shift.csv").open() as file:
        rows = {
            row["measure"]: float(row["mean"])
            for row in csv.DictReader(file)
            if (row["split"], row["method"]) == ("shift/prior/4", "ucb1")
        }
    assert rows["fall of tasks"] == rows["fall"]
    assert rows["prior of tasks"] != rows["prior"]
    parts = [rows[f"{part} of tasks"] for part in ("tasks", "prior", "method")]
    assert sum(parts) == pytest.approx(rows["fall"], abs=1e-5)


def test_what_is_there_is_not_played_again(tmp_path, capsys):
    some = shift(tmp_path, "prior", methods=("random", "oracle", "ucb1"))
    study.run(some)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    study.run(some)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()} == before


def test_an_axis_that_the_family_lacks_is_named_with_those_that_it_has(tmp_path):
    with pytest.raises(UserError, match=r"axis of bandit:k=5,n=10: 'slip'.*prior"):
        study.run(shift(tmp_path, "slip"))
    with pytest.raises(UserError, match="has no shift axis"):
        study.run(shift(tmp_path, family="minigrid:steps=20"))


def test_a_contexts_axis_is_played_on_its_track(tmp_path, capsys):
    methods = ("random", "oracle", "thompson")
    assert study.run(shift(tmp_path, "context_quality", methods=methods)) == 0
    assert "context_quality**" in capsys.readouterr().out


def test_a_family_by_its_name_alone_is_the_one_that_the_zoo_was_trained_on():
    assert recipes.variant("darkroom") == "darkroom:episodes=10,variant=ad,train=inner"
    assert recipes.variant("bandit:k=2,n=3") == "bandit:k=2,n=3"
    assert recipes.variant("tabular_mdp") == "tabular_mdp"


def test_the_bounds_of_scores_are_always_played(tmp_path, capsys):
    assert study.run(shift(tmp_path, "prior", methods=("ucb1",))) == 0
    printed = capsys.readouterr().out
    assert "0 random, 1 oracle" in printed
    assert [line.split()[1] for line in printed.splitlines() if "| ucb1 " in line] == ["ucb1"] * 2


def test_all_may_stand_beside_a_method_of_ones_own(tmp_path):
    names = shift(tmp_path, "prior", methods=("all", "ucb1:c=0.1")).played()
    assert {"ucb1", "zoo:rl2", "ucb1:c=0.1"} <= set(names)
    assert len(names) == len(set(names))


def test_an_axis_of_the_context_stands_alone(tmp_path):
    with pytest.raises(UserError, match="Ask for it alone"):
        study.run(shift(tmp_path, "prior", "context_quality"))


def test_a_family_without_an_oracle_has_no_scores(tmp_path):
    with pytest.raises(UserError, match="has no oracle"):
        study.run(shift(tmp_path, "context_quality", family="minigrid:steps=20"))


def test_ten_seeds_are_played_where_training_is_fast(tmp_path):
    small = replace(
        shift(tmp_path, "prior", methods=("zoo:rl2", "zoo:lora_maml", "ucb1")), size=SIZES["small"]
    )
    made = small.more()
    assert [cell.seed for cell in made] == list(range(3, 10))
    assert {cell.method for cell in made} == {"zoo:rl2"}
    assert all(cell.training for cell in made)
    assert [plan.split for plan in made[0].plans] == [
        "id",
        *(f"shift/prior/{i}" for i in range(1, 5)),
    ]
    assert not replace(small, family=make_family("bandit:k=3,n=10")).more()
    assert not replace(small, family=make_family("gridnavi"), axes=("slip",)).more()
    assert not shift(tmp_path, "prior").more()
