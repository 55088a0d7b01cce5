"""Specialists on the command line: they are trained on test tasks, say so, and are what scores are measured by."""

import pytest

from bridge.report.summary import Key, Results
from bridge.tasks import family
from experiments import cli, specs
from tests.experiments.commands import run

FAMILY = "bandit:k=3,n=5,tests=2"
"""Two test tasks on each split."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("specialists") / "run"
    method = "specialists:splits=id+shift/reward_sign/4,hidden=8,episodes_per_task=10"
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", method, "--family", FAMILY, "--budget", "4000", "--out", str(out)])
    assert stop.value.code == 0
    return out


def test_the_card_says_that_they_were_trained_on_test_tasks(folder):
    text = (folder / "README.md").read_text()
    assert "the test tasks of id+shift/reward_sign/4" in text
    assert "It was trained on the tasks that it is tested on." in " ".join(text.split())
    assert "training tasks" not in text
    assert "id_val" not in (folder / "train.jsonl").read_text()


def test_scores_are_measured_by_them_on_the_tasks_of_any_run(folder, tmp_path, capsys):
    other, out = tmp_path / "mtrl", tmp_path / "results"
    plain = FAMILY.removesuffix(",tests=2")
    run(
        "train",
        "mtrl:hidden=8,episodes_per_task=1,tasks_per_update=2",
        "--family",
        plain,
        "--budget",
        "100",
        "--out",
        str(other),
        capsys=capsys,
    )
    named = ("--methods", f"random,{folder},{other}", "--families", FAMILY)
    run(
        "compare",
        *named,
        "--splits",
        "id,shift/reward_sign/4",
        "--trials",
        "8",
        "--out",
        str(out),
        capsys=capsys,
    )
    results = Results(out)
    assert results.ceiling == "specialists"
    assert results.score(Key(family(FAMILY).id, "id", "specialists")).mean == pytest.approx(1.0)
    assert "Nobody knows the optimum" in (out / "tables" / "results.md").read_text()


def test_fewer_test_tasks_are_played_and_others_refused(folder, capsys):
    fewer = FAMILY.replace("tests=2", "tests=1")
    run("evaluate", str(folder), "--family", fewer, "--trials", "2", capsys=capsys)
    more = FAMILY.replace("tests=2", "tests=3")
    _, err = run("evaluate", str(folder), "--family", more, "--trials", "6", code=2, capsys=capsys)
    assert "No specialist was trained on task 2 that is played" in err


def test_their_name_in_a_comparison_does_not_depend_on_their_settings(folder):
    for spec in ("specialists", "specialists:splits=id+shift/reward_sign/4", str(folder)):
        assert specs.label(spec) == "specialists"
