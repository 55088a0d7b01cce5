"""The study of shots and gradient steps: its cells, what is kept of them, and the tables."""

import csv
import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bridge.errors import UserError
from bridge.evaluation.evaluator import Plan, evaluate
from bridge.tasks import family as make_family
from experiments import methods
from experiments.studies.few_shot import __main__ as command
from experiments.studies.few_shot import cells as played
from experiments.studies.few_shot import tables
from experiments.studies.few_shot.cells import Cell, cells, play
from experiments.studies.few_shot.curves import Curve, pooled, read
from tests.experiments.conftest import TRAINED_ON

SPEC = TRAINED_ON


@pytest.fixture(scope="module")
def runs(trained):
    return [trained["icl_rl"], trained["maml"]]


def test_every_run_is_played_as_it_is_and_tuned_in_the_ways_that_it_can_be(runs):
    icl, maml = runs
    family = make_family(SPEC)
    found = list(cells(runs, family, ("id", "shift/gap/2"), "reward", ("lora", "full"), (5, 1)))
    assert len(set(found)) == len(found) == 2 * (2 + 2 * (2 + 1))
    assert [cell.steps for cell in found] == sorted(cell.steps for cell in found)
    assert {cell.way for cell in found if cell.run == icl} == {"", "lora_reward", "full_reward"}
    assert {cell.way for cell in found if cell.run == maml} == {"", "own"}
    assert {cell.track for cell in found} == {"F"}
    shown = list(cells(runs, family, ("id",), "demos", ("lora",), (1,)))
    assert {cell.track for cell in shown} == {"C"}
    assert {cell.way for cell in shown if cell.run == maml} == {""}


def test_who_reads_no_earlier_episode_is_told_from_who_does(trained):
    family, known = make_family(SPEC), {}
    for method in ("mt", "rl2", "lora_reward_icl_rl", "lora_reward_mt", "lora_maml"):
        found = cells([trained[method]], family, ("id",), "reward", ("lora",), (1,))
        (known[method],) = {cell.alone for cell in found}
    assert known == {
        "mt": True,
        "rl2": False,
        "lora_reward_icl_rl": False,
        "lora_reward_mt": True,
        "lora_maml": True,
    }


def test_who_clones_is_studied_where_something_is_shown(trained, tmp_path):
    family, run = make_family(SPEC), trained["cloner"]
    with pytest.raises(UserError, match=r"clones what it is shown\. Ask for --signal demos"):
        list(cells([run], family, ("id",), "reward", ("lora",), (1,)))
    still, tuned = cells([run], family, ("id",), "demos", ("lora",), (3,))
    assert (still.way, tuned.way) == ("", "own")
    assert read(play(tuned, family, shots=2, trials=4, out=tmp_path)).taken.tolist() == [0, 3, 3]


def sister(run, folder, *, seed, **config):
    """The same weights by another seed's name."""
    shutil.copytree(run, folder)
    about = json.loads((folder / "config.json").read_text())
    about["config"] |= config
    del about["config"]["distribution"]  # as folders were before there was a choice
    (folder / "config.json").write_text(json.dumps(about | {"seed": seed}))
    return folder


def test_only_seeds_of_one_configuration_are_pooled(runs, tmp_path):
    family = make_family(SPEC)
    wrong = {
        "both seed 4 of icl_rl": {"seed": 4},
        "has another lr. Leave it out": {"seed": 5, "lr": 0.5},
    }
    for number, (said, about) in enumerate(wrong.items()):
        other = sister(runs[0], tmp_path / str(number), **about)
        with pytest.raises(UserError, match=said):
            list(cells([*runs, other], family, ("id",), "reward", ("lora",), (1,)))


def test_runs_of_a_kind_are_averaged_and_kinds_and_splits_kept_apart():
    ones = np.ones((5, 2))

    def cell(run, steps=0, split="id"):
        return Cell(Path(run), "icl_rl", "lora_reward" if steps else "", steps, split, "F")

    def curve(x):
        return Curve((0, 1), x * ones, *(np.array([0.0, y * x]) for y in (1, 2, 3, 4)), trained=8.0)

    given = {
        ("a", 0, "id"): 1,
        ("b", 0, "id"): 3,
        ("a", 5, "id"): 10,
        ("b", 5, "id"): 20,
        ("a", 0, "shift/gap/2"): 99,
    }
    found = pooled({cell(*key): curve(float(x)) for key, x in given.items()}, "id")
    assert [kind.steps for kind in found] == [0, 5]
    for kind, mean in zip(found, (2, 15), strict=True):
        assert (found[kind].score == mean * ones).all()
        assert [column[1] for column in found[kind][2:6]] == [mean, 2 * mean, 3 * mean, 4 * mean]
        assert found[kind].trained == 8


def test_a_run_that_was_trained_further_is_played_again(runs, tmp_path):
    family, run = make_family(SPEC), sister(runs[0], tmp_path / "run", seed=5)
    cell = Cell(run, "icl_rl", "", 0, "id", "F")
    before = play(cell, family, shots=2, trials=4, out=tmp_path).stat().st_mtime_ns
    assert play(cell, family, shots=2, trials=4, out=tmp_path).stat().st_mtime_ns == before
    last = max((run / "checkpoints").iterdir())
    os.utime(last, (time.time() + 60, time.time() + 60))
    assert play(cell, family, shots=2, trials=4, out=tmp_path).stat().st_mtime_ns > before


def test_operations_are_counted_once_for_runs_that_are_alike(runs, tmp_path, monkeypatch):
    """Two of one configuration; another trial, or more gradient steps, is counted anew."""
    counted = []
    counter = played.counter
    monkeypatch.setattr(played, "counter", lambda: counted.append(1) or counter())
    twin = sister(runs[0], tmp_path / "twin", seed=5)
    given = ["few_shot", "--family", SPEC, "--runs", str(runs[0]), str(twin)]
    given += ["--splits", "id,shift/gap/2,shift/horizon/1", "--budgets", "1", "--tuned", "lora"]
    monkeypatch.setattr(
        sys, "argv", [*given, "--shots", "2", "--trials", "4", "--out", str(tmp_path / "out")]
    )
    threads = torch.get_num_threads()
    command.main()
    torch.set_num_threads(threads)
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 2 * 3 * 2
    assert len(counted) == 2 * 2


def test_what_is_kept_is_what_was_played_and_it_is_played_once(runs, tmp_path, monkeypatch):
    family, cell = make_family(SPEC), Cell(runs[0], "icl_rl", "lora_reward", 3, "shift/gap/2", "F")
    path = play(cell, family, shots=4, trials=48, out=tmp_path)
    curve = read(path)
    agent = methods.agent(cell.spec, family, cell.split)
    again = evaluate(agent, family, Plan(split=cell.split, trials=48, track="F", shots=4))
    assert curve.points == again.points == (0, 1, 2, 4)
    for point in range(4):
        n, total, _ = again.total["episode_return"][..., point].sum(2)
        np.testing.assert_allclose(curve.score[:, point], total / n)
    assert curve.taken.tolist() == [0, 3, 3, 3]
    assert curve.refused.tolist() == [0, 0, 0, 0]
    assert curve.trained == agent.card.params_trained
    plain = read(play(cell._replace(way="", steps=0), family, shots=4, trials=48, out=tmp_path))
    assert (curve.flops[1:] > 5 * plain.flops[1:]).all()
    assert plain.flops[0] < curve.flops[0] < 2 * plain.flops[0]  # with adapters, without a step
    assert (np.diff(curve.flops) > 0).all()
    assert (np.diff(curve.seconds[1:]) > 0).any()
    told = read(
        play(cell._replace(steps=2), family, shots=4, trials=16, out=tmp_path, flops=np.arange(4.0))
    )
    assert (told.flops.tolist(), told.taken[-1]) == ([0, 1, 2, 3], 2)
    monkeypatch.setattr(played, "evaluate", None)
    assert play(cell, family, shots=4, trials=48, out=tmp_path) == path


def test_without_gradient_steps_maml_takes_none(runs, tmp_path):
    family = make_family(SPEC)
    still, moving = (
        read(
            play(
                Cell(runs[1], "maml", way, steps, "id", "F"),
                family,
                shots=4,
                trials=16,
                out=tmp_path,
            )
        )
        for way, steps in (("", 0), ("own", 2))
    )
    assert (still.taken.max(), still.trained) == (0, 0)
    assert moving.taken[-1] == 2 * 2


def test_the_tables_show_every_cell_and_the_difference_that_tuning_makes(
    runs, tmp_path, monkeypatch, capsys
):
    given = [
        "few_shot",
        "--family",
        SPEC,
        "--runs",
        *map(str, runs),
        "--budgets",
        "2",
        "--shots",
        "4",
        "--trials",
        "32",
    ]
    monkeypatch.setattr(sys, "argv", [*given, "--out", str(tmp_path)])
    threads = torch.get_num_threads()
    command.main()
    torch.set_num_threads(threads)
    out = capsys.readouterr().out
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
    for row in rows:
        assert ("±" in row[-3]) == (int(row[2]) > 0)
    last = {(row[0], row[1].strip()): float(row[-4].split(" ±")[0]) for row in rows}
    for row in (row for row in rows if int(row[2])):
        gain = last[row[0], row[1].strip()] - last[row[0], ""]
        assert float(row[-3].split(" ±")[0]) == pytest.approx(gain, abs=2e-3)
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
    assert len(list(tmp_path.glob("*.parquet"))) == 5
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
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    for label in ("icl_rl", "icl_rl, lora by reward", "icl_rl, full by reward", "maml, own"):
        assert f"<!-- {label} -->" in drawn
    monkeypatch.setattr(sys, "argv", [*given, "--trials", "16", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="holds another study"):
        command.main()


@pytest.mark.parametrize(("shift", "side"), [(1.0, "ahead"), (0.0, "open"), (-1.0, "behind")])
def test_a_side_is_taken_where_the_interval_leaves_no_other(shift, side):
    gap = np.linspace(-0.5, 0.5, 64) + shift
    assert tables._verdict(gap).endswith(side)
    mean, half = tables._verdict(gap).removesuffix(f" {side}").split(" ±")
    assert (float(mean), float(half)) == pytest.approx((shift, 1.96 * gap.std() / 8), abs=5e-3)


def test_runs_of_one_name_are_not_taken_for_one_another(runs):
    cell = Cell(runs[0], "icl_rl", "", 0, "id", "F")
    assert cell.file != cell._replace(run=runs[0].parent / "other" / runs[0].name).file


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--runs", "nowhere"), "nowhere"),
        (("--shots", "9"), "--shots is 1 to 8"),
        (("--trials", "1"), "--trials is 2 or more"),
        (("--budgets", "-1"), "--budgets 0 or more"),
    ],
)
def test_what_cannot_be_played_is_refused_before_anything_is(
    runs, tmp_path, monkeypatch, more, said
):
    given = [
        "few_shot",
        "--family",
        SPEC,
        "--runs",
        str(runs[0]),
        "--shots",
        "4",
        "--out",
        str(tmp_path),
        *more,
    ]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit, match=said):
        command.main()
    assert not list(tmp_path.glob("*.parquet"))
