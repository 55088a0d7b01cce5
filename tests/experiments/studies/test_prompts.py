import csv

import numpy as np
import pytest

from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.observers import StepDetail
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.training.budget import Budget
from experiments import agents, runs
from experiments.studies.prompts import cells, measures, study, tables
from experiments.studies.prompts.cells import Part, Size, Study
from experiments.studies.prompts.measures import Measures

SIZE = Size(6, 3, ("terse", "summary"), ("terse",), (), 0)


@pytest.fixture(scope="module")
def tiny_run(tiny_model, tmp_path_factory):
    """A run of meta-training of the tiny model."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    settings = f"model={tiny_model},format=terse,rank=2,batch=20,steps_per_update=60"
    runs.train_quietly(
        runs.Run(
            method=f"prompted_lora_ad:{settings}",
            family=cells.BANDIT,
            seed=0,
            budget=Budget(120.0, "steps"),
            out=out,
            evaluations=0,
        ),
        resume=False,
    )
    return out


@pytest.fixture
def small(monkeypatch, tiny_model, tiny_run, tmp_path):
    """A study of the tiny model, two methods of the zoo and two references."""
    models = {
        "MODEL": f"prompted:model={tiny_model}",
        "FEW_SHOT": f"prompted_lora_fewshot:model={tiny_model},rank=2,inner_steps=1",
    }
    monkeypatch.setattr(cells, "TENSORS", ("rl2",))
    monkeypatch.setattr(cells, "REFERENCES", ("random", "thompson"))
    monkeypatch.setattr(cells, "SHIFTS", ("id", "shift/gap/3"))
    monkeypatch.setattr(cells, "SCALES", ("id", "shift/reward_scale/4"))

    def spec(self, format):
        return [
            (cells.MODEL, f"{models['MODEL']},format={format}", self.size.trials),
            (cells.TRAINED, f"{models['MODEL']},format={format},run={self.run}", self.size.trials),
            (cells.FEW_SHOT, f"{models['FEW_SHOT']},format={format}", self.size.few_shot),
        ]

    monkeypatch.setattr(Study, "models", spec)
    return Study(SIZE, str(tiny_run), tmp_path / "out")


@pytest.mark.usefixtures("rendered")
def test_it_plays_prints_and_draws(small, capsys):
    study.run(small)
    printed = capsys.readouterr().out
    assert "regret by prompt format" in printed
    for split in ("id", "shift/gap/3"):
        rows = printed.partition(f"{cells.BANDIT}, {split}** · prompts")[2].partition("\n\n**")[0]
        methods = ["random", "thompson", "zoo:rl2", cells.MODEL, cells.TRAINED, cells.FEW_SHOT]
        assert [line.split()[1] for line in rows.splitlines() if " ±" in line] == methods
    assert max(map(len, printed.split("Drawn")[0].splitlines())) <= 95
    with (small.out / "prompts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} >= {
        cells.MODEL,
        cells.TRAINED,
        cells.FEW_SHOT,
        "zoo:rl2",
    }
    assert (small.out / "prompts.svg").is_file()
    before = {path: path.stat().st_mtime_ns for path in (small.out / "rows").iterdir()}
    study.run(small)
    assert {path: path.stat().st_mtime_ns for path in (small.out / "rows").iterdir()} == before


def test_measures_are_those_of_the_steps_played(small):
    study.play(small.cells(), small.out, {})
    cell, part = next(
        (cell, part) for cell, part in small.cells().items() if part.method == "thompson"
    )
    family, plan = make_family(cells.BANDIT), Plan(split=part.column, trials=6)
    detail = StepDetail()
    result = evaluate(agents.load("thompson", family, "id"), family, plan, observers=[detail])
    found = measures.of_cell(cell)
    assert found.regret.mean() == pytest.approx(result.mean("regret"), abs=1e-5)
    assert found.regret.shape == (1, 6)


def test_a_mean_over_seeds_is_paired_by_trial():
    one = Measures(*[np.array([[0.0, 1.0]])] * 5)
    two = Measures(*[np.array([[4.0, 5.0, 900.0], [6.0, 10.0, 0.0]])] * 5)
    assert measures.estimate(two.regret[:, :2]).mean == 6.25
    assert measures.median(two.regret) == 5.5  # that of the seeds' means is 7.5
    found = measures.less(two, one)
    assert (found.mean, found.n) == (5.75, 2)


def test_regret_in_another_unit_is_divided_by_it():
    found = Measures(*[np.array([[10.0, 10.0]])] * 5)
    assert tables._in_units(found, "id") == 10.0
    family = make_family(cells.BANDIT)
    scale = family.split("shift/reward_scale/4").value
    assert tables._in_units(found, "shift/reward_scale/4") == pytest.approx(10 / scale)


def test_tables_share_the_format_of_training():
    assert tables._place(cells.MODEL, "terse") == Part("methods", cells.MODEL, "id")
    assert tables._place(cells.MODEL, "log") == Part("formats", cells.MODEL, "log")


def test_a_run_without_an_adapter_is_refused(small):
    with pytest.raises(UserError, match="has no adapter of a language model"):
        study.run(Study(SIZE, "zoo:rl2/bandit", small.out))
