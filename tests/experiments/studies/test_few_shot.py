"""The study of shots and gradient steps: its cells, what is kept of them, and the tables."""

import csv
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from experiments import agents, cells
from experiments.cells import Cell
from experiments.studies import arguments
from experiments.studies.few_shot import curves, figure, tables
from experiments.studies.few_shot.curves import Curve, read
from experiments.studies.few_shot.variants import RATES, Study, Variant
from tests.experiments.commands import run

SPEC = "bandit:k=3,n=8"


@pytest.fixture(scope="module")
def runs(trained):
    return [trained["icl_rl"], trained["maml"]]


def study(runs, out=Path("nowhere"), *, splits=("id",), signal="reward", tuned=("lora",), **more):
    settings = {"budgets": (1,), "shots": 2, "trials": 4, "memory": 10**9} | more
    return Study(make_family(SPEC), runs, splits, signal, tuned, out=out, **settings)


def played(asked, out):
    """The curves of a study, whose missing cells are played."""
    about = {"shots": asked.shots, "trials": asked.trials, "rates": RATES}
    made = asked.cells()
    arguments.play(made, out, about)
    return read(made)


def test_every_run_is_played_as_it_is_and_tuned_in_the_ways_that_it_can_be(runs):
    asked = study(runs, splits=("id", "shift/gap/2"), tuned=("lora", "full"), budgets=(5, 1))
    made = asked.cells()
    assert len(made) == 2 * (2 + 2 * (2 + 1))
    variants = list(made.values())
    assert [variant.steps for variant in variants] == sorted(v.steps for v in variants)
    ways = {name: {v.way for v in variants if v.method == name} for name in ("icl_rl", "maml")}
    assert ways == {"icl_rl": {"", "lora_reward", "full_reward"}, "maml": {"", "own"}}
    assert {plan.track for cell in made for plan in cell.plans} == {"F"}
    shown = study(runs, signal="demos").cells()
    assert {plan.track for cell in shown for plan in cell.plans} == {"C"}
    assert {v.way for v in shown.values() if v.method == "maml"} == {""}


def test_agents_that_read_no_earlier_episode_learn_by_gradient_steps_alone(trained):
    known = {}
    for method in ("mt", "rl2", "lora_reward_icl_rl", "lora_reward_mt", "lora_maml"):
        (known[method],) = {v.alone for v in study([trained[method]]).cells().values()}
    assert known == {
        "mt": True,
        "rl2": False,
        "lora_reward_icl_rl": False,
        "lora_reward_mt": True,
        "lora_maml": True,
    }


def test_runs_that_clone_are_studied_on_demonstrations(trained, tmp_path):
    run = trained["cloner"]
    with pytest.raises(UserError, match=r"clones demonstrations\. Ask for --signal demos"):
        study([run]).cells()
    asked = study([run], tmp_path / "out", signal="demos", budgets=(3,))
    still, tuned = played(asked, tmp_path / "out")["id"].items()
    assert (still[0].way, tuned[0].way) == ("", "own")
    assert still[1].taken.tolist() == [0, 0, 0]
    assert tuned[1].taken.tolist() == [0, 3, 3]


def sister(run, folder, *, seed, **config):
    """The same weights by another seed's name."""
    shutil.copytree(run, folder)
    about = json.loads((folder / "config.json").read_text())
    about["config"] |= config
    del about["config"]["distribution"]  # as folders were before there was a choice
    (folder / "config.json").write_text(json.dumps(about | {"seed": seed}))
    return folder


def test_only_seeds_of_one_configuration_are_pooled(runs, tmp_path):
    wrong = {
        "both seed 4 of icl_rl": {"seed": 4},
        "has another lr. Leave it out": {"seed": 5, "lr": 0.5},
    }
    for number, (message, about) in enumerate(wrong.items()):
        other = sister(runs[0], tmp_path / str(number), **about)
        with pytest.raises(UserError, match=message):
            study([*runs, other]).cells()


def test_runs_of_a_variant_are_averaged_and_variants_and_splits_kept_apart(monkeypatch):
    def cell(run, split):
        plans = (Plan(split=split, track="F"),)
        return Cell(make_family(SPEC), run, "icl_rl", 0, plans, Path(run))

    def curve(x):
        costs = (np.array([0.0, y * x]) for y in (1, 2, 3))
        return Curve((0, 1), x * np.ones((5, 2)), *costs, np.array([1.0, x]), trained=8.0)

    plain, tuned = Variant("icl_rl", "", 0, False), Variant("icl_rl", "lora_reward", 5, False)
    given = {("a", plain): 1, ("b", plain): 3, ("a", tuned): 10, ("b", tuned): 20}
    kept = {(run, variant.steps, "id"): x for (run, variant), x in given.items()}
    kept["a", 0, "shift/gap/2"] = 99
    by_place = {}
    for (name, steps, split), x in kept.items():
        played = cell(f"{name}{steps}", split)
        by_place[played.place(played.plans[0])] = curve(float(x))
    monkeypatch.setattr(curves, "_of_file", lambda path, _metric: by_place[path])
    made = {cell(f"{run}{v.steps}", "id"): v for run, v in given}
    made[cell("a0", "shift/gap/2")] = plain
    found = read(made)
    assert {split: list(variants) for split, variants in found.items()} == {
        "id": [plain, tuned],
        "shift/gap/2": [plain],
    }
    for variant, mean in ((plain, 2), (tuned, 15)):
        pooled = found["id"][variant]
        assert (pooled.score == mean).all()
        assert [column[1] for column in pooled[2:5]] == [mean, 2 * mean, 3 * mean]
        assert pooled.trained == 8
    assert found["id"][plain].flops[1] == 1  # of the run in which they were counted


def test_a_run_that_was_trained_further_is_played_again(runs, tmp_path):
    run, out = sister(runs[0], tmp_path / "run", seed=5), tmp_path / "out"
    (cell,) = study([run], out, budgets=(0,)).cells()
    times = []
    for later in (0, 0, 60):
        if later:
            last = max((run / "checkpoints").iterdir())
            os.utime(last, (time.time() + later, time.time() + later))
        played(study([run], out, budgets=(0,)), out)
        times.append(cell.place(cell.plans[0]).stat().st_mtime_ns)
    assert times[0] == times[1] < times[2]


def test_operations_are_counted_once_for_runs_that_are_alike(runs, tmp_path, monkeypatch):
    """Two of one configuration; another trial, or more gradient steps, is counted anew."""
    counted, counter = [], cells.counter
    monkeypatch.setattr(cells, "counter", lambda: counted.append(1) or counter())
    twin, out = sister(runs[0], tmp_path / "twin", seed=5), tmp_path / "out"
    splits = ("id", "shift/gap/2", "shift/horizon/1")
    found = played(study([runs[0], twin], out, splits=splits), out)
    assert len(list((out / "rows").glob("*.parquet"))) == 2 * 3 * 2
    assert len(counted) == 2 * 2
    for variants in found.values():
        for variant, curve in variants.items():
            assert np.isfinite(curve.flops).all()
            assert (curve.flops[1:] > curve.flops[:-1]).all()
            assert (found["shift/gap/2"][variant].flops == found["id"][variant].flops).all()


def test_what_is_kept_is_what_was_played_and_it_is_played_once(runs, tmp_path, monkeypatch):
    family, split = make_family(SPEC), "shift/gap/2"
    settings = {"splits": (split,), "budgets": (3,), "shots": 4, "trials": 48}
    asked = study(runs[:1], tmp_path, **settings)
    plain, tuned = played(asked, tmp_path)[split].values()
    cell = next(cell for cell, variant in asked.cells().items() if variant.steps)
    agent = agents.load(cell.spec, family, split)
    again = evaluate(agent, family, Plan(split=split, trials=48, track="F", shots=4))
    assert tuned.points == again.points == (0, 1, 2, 4)
    for point in range(4):
        n, total, _ = again.total["episode_return"][..., point].sum(2)
        np.testing.assert_allclose(tuned.score[:, point], total / n)
    assert tuned.taken.tolist() == [0, 3, 3, 3]
    assert tuned.refused.tolist() == [0, 0, 0, 0]
    assert tuned.trained == agent.card.params_trained
    assert (tuned.flops[1:] > 5 * plain.flops[1:]).all()
    assert plain.flops[0] < tuned.flops[0] < 2 * plain.flops[0]  # with adapters, without a step
    assert (np.diff(tuned.flops) > 0).all()
    assert (np.diff(tuned.seconds[1:]) > 0).any()
    monkeypatch.setattr(cells, "evaluate", None)
    played(study(runs[:1], tmp_path, **settings), tmp_path)


def test_without_gradient_steps_maml_takes_none(runs, tmp_path):
    asked = study(runs[1:], tmp_path, budgets=(2,), shots=4, trials=16)
    still, moving = played(asked, tmp_path)["id"].values()
    assert (still.taken.max(), still.trained) == (0, 0)
    assert moving.taken[-1] == 2 * 2


def test_the_tables_show_every_cell_and_the_difference_that_tuning_makes(runs, tmp_path, capsys):
    given = [
        "few-shot",
        *map(str, runs),
        "--budgets",
        "0,2",
        "--shots",
        "4",
        "--out",
        str(tmp_path),
    ]
    out, _ = run(*given, "--trials", "32", capsys=capsys)
    out, claim = out.split(
        "**id** · in context, less gradient steps alone (open: the interval holds 0)"
    )
    rows = [
        line.split(" | ") for line in out.splitlines() if line.startswith(("| icl_rl", "| maml"))
    ]
    assert [(row[0][2:], row[1].strip(), int(row[2])) for row in rows] == [
        ("icl_rl", "", 0),
        ("maml", "", 0),
        ("icl_rl", "lora_reward", 2),
        ("icl_rl", "full_reward", 2),
        ("maml", "own", 2),
    ]
    assert len({len(row) for row in rows}) == 1
    assert all(len(line) <= 80 for line in out.splitlines() if line.startswith("|"))
    for row in rows:
        assert ("±" in row[-1]) == (int(row[2]) > 0)
    last = {(row[0], row[1].strip()): float(row[-2].split(" ±")[0]) for row in rows}
    for row in (row for row in rows if int(row[2])):
        gain = last[row[0], row[1].strip()] - last[row[0], ""]
        assert float(row[-1].split(" ±")[0]) == pytest.approx(gain, abs=2e-3)
    head, _, nothing, maml = (
        line.strip("| ").split(" | ") for line in claim.strip().splitlines()[:4]
    )
    assert (head, maml[:3]) == (
        ["less", "tuned", "steps", "return", "icl_rl"],
        ["maml", "own", "2"],
    )
    icl, own = last["| icl_rl", ""], last["| maml", "own"]
    assert [float(x.split(" ±")[0]) for x in (nothing[-1], *maml[3:])] == pytest.approx(
        [icl, own, icl - own], abs=2e-3
    )
    assert len(list((tmp_path / "rows").glob("*.parquet"))) == 5
    with (tmp_path / "curves.csv").open(newline="") as file:
        points = list(csv.DictReader(file))
    assert len(points) == 5 * 4
    assert [(point["method"], point["tuned"], point["shots"]) for point in points[8:10]] == [
        ("icl_rl", "lora_reward", "0"),
        ("icl_rl", "lora_reward", "1"),
    ]
    (end,) = (
        p for p in points if (p["method"], p["tuned"], p["shots"]) == ("icl_rl", "full_reward", "4")
    )
    assert float(end["mean"]) == pytest.approx(last["| icl_rl", "full_reward"], abs=1e-3)
    assert float(end["low"]) < float(end["mean"]) < float(end["high"])
    assert [float(end[name]) for name in ("taken", "refused")] == [2, 0]
    assert min(float(end[name]) for name in ("trained", "seconds", "flops")) > 0
    drawn = (tmp_path / "curves.svg").read_text()
    for label in ("icl_rl", "icl_rl, lora by reward", "icl_rl, full by reward", "maml, own"):
        assert f"<!-- {label} -->" in drawn
    _, err = run(*given, "--trials", "16", capsys=capsys, code=2)
    assert "holds another study" in err


def test_what_takes_no_gradient_steps_here_is_drawn_as_it_is():
    """MAML cannot clone demonstrations, and ``mt``, which also learns by gradient steps alone, can."""
    flat = Curve((0, 1), np.linspace(0, 1, 10).reshape(5, 2), *np.zeros((4, 2)), trained=0.0)
    variants = {
        Variant("maml", "", 0, alone=True): flat,
        Variant("mt", "", 0, alone=True): flat,
        Variant("mt", "lora_demos", 5, alone=True): flat,
        Variant("icl_rl", "", 0, alone=False): flat,
    }
    panel = Figure().subplots()
    figure._over_shots(variants, panel, figure._cast(variants))
    drawn = panel.get_legend_handles_labels()[1]
    assert drawn == ["maml", "mt, lora by demos", "icl_rl"]


@pytest.mark.parametrize(("shift", "side"), [(1.0, "ahead"), (0.0, "open"), (-1.0, "behind")])
def test_a_side_is_taken_where_the_interval_leaves_no_other(shift, side):
    gap = np.linspace(-0.5, 0.5, 64) + shift
    assert tables._verdict(gap).endswith(side)
    mean, half = tables._verdict(gap).removesuffix(f" {side}").split(" ±")
    assert (float(mean), float(half)) == pytest.approx((shift, 1.96 * gap.std() / 8), abs=5e-3)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("nowhere",), "nowhere"),
        (("--shots", "9"), "--shots is 1 to 8"),
        (("--trials", "1"), "--trials must be 2 or more"),
        (("--budgets", "-1"), "--budgets must be 0 or more"),
        (
            ("--budgets", "1,2.5"),
            "--budgets are whole numbers, such as 0,1,2 (or 0 1 2); found '2.5'",
        ),
        (("--tuned", "lora,heads"), "Unknown weights 'heads'. Did you mean 'head'?"),
        (("--family", "bandit:k=4,n=8"), "was trained on bandit:k=3,n=8"),
    ],
)
def test_what_cannot_be_played_is_refused_before_anything_is(runs, tmp_path, more, said, capsys):
    given = ("few-shot", str(runs[0]), *more, "--out", str(tmp_path))
    _, err = run(*given, code=2, capsys=capsys)
    assert said in err
    assert not list(tmp_path.rglob("*.parquet"))
