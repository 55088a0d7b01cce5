"""Comparisons: every cell has files of its own, is kept, or is not begun."""

import io
import resource
import shutil
import signal
import sys
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from bridge.evaluation import results
from bridge.tasks import family as make_family
from bridge.training.budget import Budget
from experiments import cli, compare, zoo
from experiments import runs as run_folders
from experiments.sizes import SIZES
from experiments.zoo import recipes
from tests.experiments.commands import run
from tests.experiments.conftest import TRAINED, TRAINED_ON

SPEC, TINY = "bandit:k=2,n=3", "rl2:hidden=8,steps_per_update=300,minibatches=2"
BASE = ["compare", "--families", SPEC, "--trials", "200", "--budget", "300"]


def rows(out, method):
    found = [
        row
        for path in results.files(out)
        for row in pq.read_table(path).to_pylist()
        if row["method"] == method
    ]
    assert found
    return found


def test_a_full_disk_stops_before_the_next_cell_is_trained(tmp_path, capsys):
    """Files may have 300 kB, which weights of 128 units exceed: safetensors fails, which is no fault of ours."""
    limits, before = (
        resource.getrlimit(resource.RLIMIT_FSIZE),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    flags = ["--splits", "id", "--seeds", "0", "1", "--out", str(tmp_path)]
    try:
        _, err = run(*BASE, "--methods", TINY.replace("=8", "=128"), *flags, code=2, capsys=capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "safetensors: the disk is full. Finished results are kept; make room" in err
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_nothing_is_begun_where_rows_could_not_be_written(tmp_path, capsys):
    limits, before = (
        resource.getrlimit(resource.RLIMIT_FSIZE),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        _, err = run(
            *BASE,
            "--methods",
            TINY,
            "--splits",
            "id",
            "--out",
            str(tmp_path),
            code=2,
            capsys=capsys,
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "the disk is full" in err
    assert not (tmp_path / "runs").exists()


def test_a_method_with_a_long_name_is_kept_and_not_played_twice(tmp_path, capsys):
    long = f"{TINY},lr=0.004{'0' * 200}"
    flags = ["--methods", f"random,{long}", "--splits", "id", "--out", str(tmp_path)]
    run(*BASE, *flags, capsys=capsys)
    assert rows(tmp_path, long)[0]["train_env_steps"] == 300
    (run_folder,) = (tmp_path / "runs").iterdir()
    written = (run_folder / "model.safetensors").stat().st_mtime_ns
    run(*BASE, *flags, capsys=capsys)
    assert (run_folder / "model.safetensors").stat().st_mtime_ns == written


def test_settings_that_look_alike_have_folders_of_their_own(tmp_path):
    specs = ("rl2:lr=1e-3", "rl2:lr=1e+3", "rl2:lr=0.002")
    family = make_family(SPEC)
    cells, _ = compare.Grid(
        families=(family,),
        methods=specs,
        splits=("id",),
        trials=lambda _family: 10,
        budget=lambda _method, _family: Budget(1.0),
        seeds=(0,),
        configurations=1,
        out=tmp_path,
        memory=10**9,
    ).cells
    names = [cell.training.out.name for cell in cells if cell.training]
    assert len(set(names)) == 3
    assert names[0] == "bandit-k=2-n=3--rl2-lr=1e-3--s0"  # where it always was
    assert names[2] == "bandit-k=2-n=3--rl2-lr=0.002--s0"


def test_without_checkpoints_a_run_is_played_and_not_trained_again(tmp_path, capsys):
    """Its model is; what it cost is read from its log, and is null where nothing says it."""
    flags = ["--methods", f"random,{TINY}", "--out", str(tmp_path)]
    run(*BASE, *flags, "--splits", "id", capsys=capsys)
    first = rows(tmp_path, TINY)
    costs = ("train_env_steps", "train_grad_steps", "train_seconds", "train_flops")
    (run_folder,) = (tmp_path / "runs").iterdir()
    shutil.rmtree(run_folder / "checkpoints")
    for path in results.files(tmp_path):
        path.unlink()
    run(*BASE, *flags, "--splits", "id", capsys=capsys)
    again = rows(tmp_path, TINY)
    timeless = [
        {key: value for key, value in row.items() if key != "test_seconds"} for row in first
    ]
    assert [
        {key: value for key, value in row.items() if key != "test_seconds"} for row in again
    ] == timeless
    assert not (run_folder / "checkpoints").exists()
    (run_folder / "train.jsonl").unlink()
    for path in results.files(tmp_path):
        path.unlink()
    run(*BASE, *flags, "--splits", "id", capsys=capsys)
    third = rows(tmp_path, TINY)
    assert [third[0][name] for name in costs] == [300, first[0]["train_grad_steps"], None, None]
    assert third[0]["trial_return_sum"] == first[0]["trial_return_sum"]


@pytest.mark.parametrize(
    ("text", "said"), [("[1]", "found a list"), ("{", "expected JSON"), ("\xff", "UTF-8")]
)
def test_a_damaged_plan_is_refused_by_name(text, said, tmp_path, capsys):
    flags = ["--methods", "random", "--splits", "id", "--out", str(tmp_path)]
    run(*BASE[:-2], *flags, capsys=capsys)
    (tmp_path / "plan.json").write_text(text, encoding="latin-1")
    _, err = run(*BASE[:-2], *flags, code=2, capsys=capsys)
    assert f"{tmp_path}/plan.json cannot be read" in err
    assert said in err
    assert "remove it with what lies beside it" in err


def test_output_that_is_not_utf8_loses_nothing(tmp_path, monkeypatch):
    """Tables hold ``±``, ``·`` and lines: what a terminal cannot show becomes ``?``, files are UTF-8."""
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    with pytest.raises(SystemExit) as stop:
        cli.main(
            [*BASE[:-2], "--methods", "random,oracle", "--splits", "id", "--out", str(tmp_path)]
        )
    sys.stdout.flush()
    assert stop.value.code == 0
    assert b"?" in shown.getvalue()
    assert "±" in (tmp_path / "tables" / "results.md").read_text(encoding="utf-8")


@pytest.fixture
def shelf(trained, tmp_path, monkeypatch):
    """A zoo that has icl_rl with two training seeds."""
    monkeypatch.setattr(zoo, "RUNS", tmp_path / "zoo")
    for seed in ("4", "7"):
        place = tmp_path / "zoo" / "icl_rl" / "bandit" / seed
        run_folders.export(str(trained["icl_rl"]), place, {"commit": "abc"})


def played(out):
    """Family, method, seed, track and size of the rows of a folder."""
    names = ("family", "method", "seed", "track", "size")
    return {
        tuple(row[name] for name in names)
        for path in results.files(out)
        for row in pq.read_table(path, columns=list(names)).to_pylist()
    }


ON_TWO_TRACKS = ["compare", "--splits", "id", "--trials", "20", "--tracks", "O,C", "--shots", "1"]


def test_runs_stand_beside_references_on_two_tracks(shelf, trained, tmp_path, capsys):
    """On the family of the runs: every training seed of the zoo, those asked for of what takes steps in every trial.

    What clones demonstrations plays on track C alone.
    """
    folder, cloner = str(trained["rl2"]), "lora_demos:run=zoo:icl_rl"
    methods = f"random,{folder},zoo:icl_rl,zoo:icl_rl/bandit/4,{cloner}"
    given = (*ON_TWO_TRACKS, "--methods", methods, "--out", str(tmp_path / "out"))
    _, err = run(*given, code=2, capsys=capsys)
    assert "tunes runs of the zoo with seeds 4, 7; found 0. Name some of the former" in err
    given = (*given, "--seeds", "7")
    run(*given, capsys=capsys)
    assert played(tmp_path / "out") == {
        (TRAINED_ON, method, seed, track, "")
        for method, seed in (
            ("random", 0),
            (folder, 4),
            ("zoo:icl_rl", 4),
            ("zoo:icl_rl", 7),
            ("zoo:icl_rl/bandit/4", 4),
            ("lora_demos_icl_rl", 7),
        )
        for track in (("C",) if "demos" in method else ("O", "C"))
    }
    before = {path: path.stat().st_mtime_ns for path in results.files(tmp_path / "out")}
    run(*given, capsys=capsys)
    assert before == {path: path.stat().st_mtime_ns for path in results.files(tmp_path / "out")}


def test_a_fresh_comparison_trains_what_ships_by_its_recipe(shelf, tmp_path, monkeypatch, capsys):
    recipe = recipes.Recipe(TRAINED_ON, TRAINED["icl_rl"] + ",entropy=0.07", 400)
    monkeypatch.setattr(recipes, "RECIPES", (recipe,))
    out = tmp_path / "out"
    methods = "zoo:icl_rl,lora_demos:run=zoo:icl_rl"
    given = (*ON_TWO_TRACKS, "--families", TRAINED_ON, "--methods", methods, "--out", str(out))
    run(*given, "--fresh", "--seeds", "4", "7", capsys=capsys)
    about = [run_folders.read(place).about for place in sorted((out / "runs").iterdir())]
    assert [(a["seed"], a["config"]["entropy"]) for a in about] == [(4, 0.07), (7, 0.07)]
    assert {row["train_env_steps"] for row in rows(out, "zoo:icl_rl")} == {400}
    assert {row["seed"] for row in rows(out, "lora_demos_icl_rl")} == {4, 7}
    _, err = run(*given, "--seeds", "4", "7", code=2, capsys=capsys)
    assert "runs of the zoo: trained here there, as they ship here" in err


def test_rows_name_the_size_and_its_version(tmp_path, capsys):
    methods = ["--methods", "random", "--splits", "id", "--out", str(tmp_path)]
    run(
        "compare",
        "--families",
        "darkroom:episodes=10,variant=ad,train=inner",
        *methods,
        capsys=capsys,
    )
    assert {row[-1] for row in played(tmp_path)} == {"quick 2"}
    assert '"size": "quick 2"' in (tmp_path / "plan.json").read_text()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--methods", "{rl2}", "--families", SPEC], "was trained on bandit:k=3,n=8"),
        (["--methods", "zoo:icl_rl", "--families", "gridnavi"], "The zoo has it on bandit"),
        (["--methods", "zoo:icl_r"], "Did you mean 'icl_rl'?"),
        (
            ["--methods", "lora_demos:run=zoo:icl_rl", "--tracks", "O", "--families", TRAINED_ON],
            "which only track C shows",
        ),
        (
            ["--methods", "lora_reward:run=zoo:icl_rl", "--fresh"],
            "Add zoo:icl_rl, which lora_reward:run=zoo:icl_rl tunes",
        ),
        (
            [
                "--methods",
                "lora_reward:run=zoo:icl_rl,lora_reward_icl_rl",
                "--families",
                TRAINED_ON,
            ],
            "lora_reward:run=zoo:icl_rl and lora_reward_icl_rl are both lora_reward_icl_rl in results",
        ),
        (
            ["--methods", "random", "--splits", "tabular_mdp:id"],
            "Unknown family of --splits 'tabular_mdp'",
        ),
        (["--methods", "random", "--splits", "bandit:shift/slap"], "Unknown axis"),
        (["--families", "darkroom", "--budget", "1e5"], "size quick trains none on darkroom"),
        (["--tracks", "O,X"], "Unknown track 'X'"),
        (["--tracks", "O", "--behaviour", "oracle"], "--behaviour is for track C"),
        (["--tracks", "O", "--shots", "2"], "--shots is for tracks C and F"),
    ],
)
def test_what_cannot_be_compared_is_refused(flags, said, shelf, trained, tmp_path, capsys):
    flags = [flag.format(rl2=trained["rl2"]) for flag in flags]
    _, err = run("compare", *flags, "--out", str(tmp_path / "out"), code=2, capsys=capsys)
    assert said in err
    assert not (tmp_path / "out" / "rows").exists()


def test_a_size_leaves_out_its_methods_that_clone_if_nothing_is_shown(
    shelf, monkeypatch, tmp_path, capsys
):
    methods = ("random", "zoo:icl_rl", "lora_demos:run=zoo:icl_rl")
    quick = replace(SIZES["quick"], methods=methods)
    monkeypatch.setitem(SIZES, "quick", quick)
    flags = ["--families", TRAINED_ON, "--splits", "id", "--trials", "8", "--tracks", "O"]
    run("compare", *flags, "--out", str(tmp_path / "out"), capsys=capsys)
    assert {row[1] for row in played(tmp_path / "out")} == {"random", "zoo:icl_rl"}


def test_track_c_is_left_out_if_nobody_can_show_a_context(write, tmp_path, capsys):
    write(
        "own.py", "from bridge.tasks.bandit import Bandit\nclass Mine(Bandit):\n    name = 'mine'\n"
    )
    flags = [
        "--methods",
        "random",
        "--splits",
        "id",
        "--trials",
        "8",
        "--out",
        str(tmp_path / "out"),
    ]
    shown = ["--families", "gridnavi,own.py:Mine", "--behaviour", "ucb1"]
    _, err = run("compare", *flags, *shown, capsys=capsys)
    assert "gridnavi: track C is left out, as ucb1 does not play it" in err
    tracks = {(row[0].partition(":k")[0], row[3]) for row in played(tmp_path / "out")}
    assert tracks == {("gridnavi", "O"), ("own.py:Mine", "O"), ("own.py:Mine", "C")}


def test_a_family_that_no_split_is_for_is_said_to_be_left_out(tmp_path, capsys):
    flags = ["--families", f"{SPEC},gridnavi", "--methods", "random", "--trials", "8"]
    splits = ["--splits", "bandit:id", "--tracks", "O"]
    _, err = run("compare", *flags, *splits, "--out", str(tmp_path), capsys=capsys)
    assert err.splitlines()[0] == "gridnavi: left out, as none of --splits is for it"


def test_without_a_leaderboard_the_tables_are_printed(tmp_path, capsys):
    flags = ["--methods", "random,ucb1", "--splits", "shift/prior/2", "--tracks", "O"]
    out, _ = run(*BASE[:-2], *flags, "--out", str(tmp_path), capsys=capsys)
    assert "There is no leaderboard" in out
    assert "ucb1 " in out
    assert "Shown:" not in out


def test_splits_that_a_method_does_not_model_are_named(tmp_path, capsys):
    flags = ["--families", SPEC, "--methods", "random,bayes", "--trials", "8", "--tracks", "O"]
    splits = ["--splits", "id,shift/changes/1", "--out", str(tmp_path / "some")]
    _, err = run("compare", *flags, *splits, capsys=capsys)
    assert "bayes is left out on shift/changes/1, which it does not model" in err
    assert ("bayes", "shift/changes/1") not in {row[1:3] for row in played(tmp_path / "some")}


def test_a_method_that_models_none_of_the_splits_is_refused(tmp_path, capsys):
    flags = ["--families", SPEC, "--methods", "bayes", "--trials", "8", "--tracks", "O"]
    splits = ["--splits", "shift/changes/1", "--out", str(tmp_path)]
    _, err = run("compare", *flags, *splits, capsys=capsys, code=2)
    assert "Take bayes_train" in err
