"""The command: what it prints, how it refuses bad input, how it goes on after being stopped."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bridge import files
from bridge.errors import UserError
from bridge.evaluation import results
from bridge.references.registry import REFERENCES
from bridge.training.budget import Budget
from experiments import agents, compare, pool
from experiments.sizes import SIZES
from tests.experiments.commands import run

TINY = "rl2:hidden=8,steps_per_update=300,minibatches=2"
SMALL = ["--families", "bandit:k=2,n=3", "--trials", "200"]


@pytest.mark.parametrize("what", ["families", "methods", "splits", "axes", "experiments"])
def test_list_is_an_array_of_objects_with_a_name(what, capsys):
    found = json.loads(run("list", what, "--json", capsys=capsys)[0])
    assert found
    assert all(isinstance(entry["name"], str) for entry in found)


def test_list_knows_every_name_that_stays(capsys):
    names = {
        entry["name"] for entry in json.loads(run("list", "methods", "--json", capsys=capsys)[0])
    }
    assert names >= {
        "random",
        "oracle",
        "bayes",
        "bayes_train",
        "ucb1",
        "thompson",
        "greedy",
        "epsilon_greedy",
        "gittins",
        "psrl",
        "opsrl",
        "search",
        "blind",
    }
    families = {
        entry["name"] for entry in json.loads(run("list", "families", "--json", capsys=capsys)[0])
    }
    assert families == {
        "bandit",
        "contextual_bandit",
        "tabular_mdp",
        "gridnavi",
        "darkroom",
        "point_nav",
        "sparse_point",
        "minigrid",
        "metaworld",
        "cheetah_vel",
        "cheetah_dir",
        "ant_dir",
        "ant_goal",
        "walker_params",
        "gym",
    }


def test_list_of_one_variant(capsys):
    found = json.loads(
        run("list", "axes", "--family", "darkroom:train=hole", "--json", capsys=capsys)[0]
    )
    assert "hole" in {entry["name"] for entry in found}
    assert run("list", "splits", capsys=capsys)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "tomson"], "Did you mean 'thompson'"),
        (["evaluate", "icl_dp"], "Did you mean 'icl_dpt'"),
        (["evaluate", "full_rewards:run=x"], "Did you mean 'full_reward'"),
        (["evaluate", "lora_reward:run=nowhere"], "nowhere is no run folder"),
        (["few-shot", "nowhere", "--out", "x"], "nowhere is no run folder"),
        (["evaluate", "random", "--family", "gridnavy"], "Did you mean 'gridnavi'"),
        (["evaluate", "random", "--splits", "shift/gapp/2"], "Did you mean 'gap'"),
        (["evaluate", "random", "--splits", "ids"], "Did you mean 'id'"),
        (["evaluate", "ucb1:d=3"], "Known: c"),
        (["evaluate", "ucb1:c=x"], "a number, found 'x'"),
        (["evaluate", "ucb1:c=nan"], "a number, found 'nan'"),
        (["evaluate", "random", "--splits", ""], "--splits names nothing"),
        (["evaluate", "random", "--family", "bandit:k=1000000000"], "must be at most 1,000,000"),
        (["evaluate", "gittins", "--family", "bandit:n=3000"], "plans at most 600 pulls"),
        (["evaluate", "random", "--trials", "100", "--trials-per-task", "100"], "makes one task"),
        (["compare", "--methods", "random,ucb1:d=3", *SMALL], "Known: c"),
        (["compare", "--families", ""], "--families names nothing"),
        (["evaluate", "ucb1", "--family", "gridnavi"], "does not play gridnavi"),
        (["evaluate", "random", "--family", "bandit:k=1"], "needs k from 2 to 10,000 arms"),
        (["evaluate", "random", "--trials", "0"], "trials must be 1 or more"),
        (
            ["evaluate", "random", "--track", "C", "--behaviour", "nobody"],
            "Unknown method or run 'nobody'",
        ),
        (["evaluate", "random", "--track", "F", "--shots", "99"], "shots=99 is more than"),
        (["compare", "--families", "bandits"], "Did you mean 'bandit'"),
        (["compare", "--methods", "bays", *SMALL], "Did you mean 'bayes'"),
        (["compare", "--splits", "shift/nothing", *SMALL], "Unknown axis"),
        (["compare", "--trials", "0"], "--trials must be 1 or more"),
        (["evaluate", "rl2"], "is trained first"),
        (["train", "rl3", "--out", "x"], "Did you mean 'rl2'"),
        (["train", "rl3:x", "--out", "x"], "Did you mean 'rl2'"),
        (["train", "bayes", "--out", "x"], "bayes is a reference, which is not trained"),
        (["tune", "bayes", "--out", "x"], "bayes is a reference, which is not trained"),
        (
            ["train", "lora_reward:run=zoo:icl_rl/bandit", "--out", "x"],
            "lora_reward takes gradient steps at test, and is not trained",
        ),
        (
            ["train", "zoo:icl_rl/bandit", "--out", "x"],
            "zoo:icl_rl/bandit is a run, and a method is asked for",
        ),
        (["train", "mine.py:Mine", "--out", "x"], "mine.py:Mine is code of your own"),
        (["train", "rl2:hiden=3", "--out", "x"], "Did you mean 'hidden'"),
        (["train", "rl2", "--budget", "0", "--out", "x"], "A budget is a number above 0"),
        (["train", "rl2:gamma=1.5", "--out", "x"], "RL² needs gamma from 0 to 1; found 1.5"),
        (["train", "rl2:max_grad_norm=0", "--out", "x"], "RL² needs max_grad_norm above 0"),
        (["train", "rl2", "--processes", "0", "--out", "x"], "--processes must be 1 or more"),
        (
            ["train", "rl2", "--tracker", "wandb", "--out", "x"],
            "The tracker 'wandb' is not installed here",
        ),
        (["tune", "rl2", "--configs", "0", "--out", "x"], "--configs must be 1 or more"),
        (["compare", "--tuning", "0", "--out", "x"], "--tuning must be 1 or more"),
        (["report", "no/such/folder"], "There is no folder"),
        (["check", "nobody"], "Unknown family or method"),
        (["check", "maml"], "maml is trained first"),
        (["evaluate", "no/where"], "no/where is no run folder"),
        (
            ["tune", "mtrl:shared=nothing", "--family", "gridnavi", "--out", "x"],
            "Specialists need known tasks",
        ),
        (["check", "no_such_module:thing"], "cannot be imported"),
        (["check", "no_such_file.py:thing"], "There is no file"),
    ],
)
def test_bad_input_gets_one_clear_line_and_exit_code_2(arguments, message, capsys, tmp_path):
    if arguments[0] == "compare":
        arguments = [*arguments, "--out", str(tmp_path / "out")]
    _, err = run(*arguments, code=2, capsys=capsys)
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments", [["evaluate"], ["compare", "--size", "huge"], ["nothing"], ["report"]]
)
def test_wrong_flags_exit_with_2(arguments, capsys):
    run(*arguments, code=2, capsys=capsys)


@pytest.mark.usefixtures("rendered")
def test_compare_writes_rows_tables_and_figures_and_goes_on(tmp_path, capsys):
    out = tmp_path / "out"
    base = ["compare", *SMALL, "--tracks", "O", "--splits", "id,shift/prior", "--out", str(out)]
    run(*base, "--methods", "random,oracle", capsys=capsys)
    first = {p.name: p.stat().st_mtime_ns for p in (out / "rows").glob("*.parquet")}
    assert len(first) == 2 * 5
    printed, _ = run(*base, "--methods", "random,oracle,ucb1", capsys=capsys)
    second = {p.name: p.stat().st_mtime_ns for p in (out / "rows").glob("*.parquet")}
    assert len(second) == 3 * 5
    assert first.items() <= second.items()  # what was done was not done again
    assert "ucb1" in printed
    for name in (
        "tables/results.md",
        "tables/results.csv",
        "figures/bandit-k=2-n=3-shift.svg",
        "figures/bandit-k=2-n=3-curves.svg",
    ):
        assert (out / name).stat().st_size > 500
    assert run("report", str(out), capsys=capsys)[0] == printed
    assert (out / "tables" / "leaderboard.csv").read_text().startswith("track,method,column,")


def test_the_leaderboard_is_printed_first_and_the_many_tables_if_asked(tmp_path, capsys):
    flags = ["--methods", "random,oracle,ucb1", "--splits", "id", "--out", str(tmp_path)]
    title = "bandit:k=2,n=3 · id · n = 200 trials"
    printed, _ = run("compare", *SMALL, *flags, capsys=capsys)
    assert printed.startswith("Leaderboard: score (0 random, 1 oracle) on id\n")
    assert title not in printed
    assert title in run("compare", *SMALL, *flags, "--tables", capsys=capsys)[0]
    assert title in run("report", str(tmp_path), "--tables", capsys=capsys)[0]


def test_a_cell_that_fails_is_reported_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    def broken(family, split):
        raise RuntimeError("the machine is on fire")

    monkeypatch.setitem(REFERENCES, "greedy", dict.fromkeys(REFERENCES["greedy"], broken))
    out = tmp_path / "out"
    base = ["compare", *SMALL, "--methods", "greedy,random", "--splits", "id", "--tracks", "O"]
    base += ["--out", str(out)]
    _, err = run(*base, code=1, capsys=capsys)
    assert "failed: greedy on bandit:k=2,n=3: the machine is on fire" in err
    assert "RuntimeError" in (out / "errors.log").read_text()
    assert [p.name.split("--")[1] for p in results.files(out)] == ["random"]
    monkeypatch.undo()
    run(*base, capsys=capsys)
    assert len(results.files(out)) == 2


def test_other_trials_in_the_same_folder_are_refused(tmp_path, capsys):
    base = [
        "compare",
        "--families",
        "bandit:k=2,n=3",
        "--methods",
        "random",
        "--splits",
        "id",
        "--out",
        str(tmp_path),
    ]
    run(*base, "--trials", "100", capsys=capsys)
    _, err = run(*base, "--trials", "200", code=2, capsys=capsys)
    assert "trials a split on bandit: 100 there, 200 here" in err


def test_a_folder_that_cannot_be_used_is_refused(tmp_path, capsys):
    base = ["compare", *SMALL, "--methods", "random", "--splits", "id", "--out"]
    (tmp_path / "file").write_text("")
    assert "Could not write" in run(*base, str(tmp_path / "file"), code=2, capsys=capsys)[1]
    run(*base, str(tmp_path / "out"), capsys=capsys)
    (tmp_path / "out" / "plan.json").write_text("{")
    assert "plan.json cannot be read" in run(*base, str(tmp_path / "out"), code=2, capsys=capsys)[1]
    (tmp_path / "out" / "plan.json").unlink()
    assert "rows without a plan.json" in run(*base, str(tmp_path / "out"), code=2, capsys=capsys)[1]


def test_a_runs_folder_takes_no_results(trained, capsys):
    out = ["--out", str(trained["rl2"])]
    compare = ["compare", *SMALL, "--methods", "random", "--splits", "id"]
    for line in (compare, ["evaluate", "random", "--trials", "20"]):
        assert "is a run's folder" in run(*line, *out, code=2, capsys=capsys)[1]
    assert not (trained["rl2"] / "suite.json").exists()


def test_if_every_cell_fails_there_is_no_report(tmp_path, capsys):
    flags = ["--methods", TINY, "--splits", "id", "--tracks", "O", "--budget", "9"]
    printed, error = run("compare", *SMALL, *flags, "--out", str(tmp_path), code=1, capsys=capsys)
    assert "1 cell failed; see" in error
    assert "holds no results" not in error
    assert not printed


def test_reporting_a_folder_writes_nothing_into_one_without_results(tmp_path, capsys):
    assert "holds no results" in run("report", str(tmp_path), code=2, capsys=capsys)[1]
    assert not list(tmp_path.iterdir())


def test_compare_trains_what_is_missing(tmp_path, capsys):
    flags = [
        "--methods",
        f"random,bayes,{TINY}",
        "--splits",
        "id",
        "--budget",
        "900",
        "--seeds",
        "0,1",
    ]
    base = ["compare", *SMALL, *flags, "--out", str(tmp_path)]
    printed, _ = run(*base, capsys=capsys)
    assert TINY.split(":")[0] in printed
    runs = sorted((tmp_path / "runs").iterdir())
    assert len(runs) == 2
    models = [(r / "model.safetensors").stat().st_mtime_ns for r in runs]
    rows = [pq.read_table(p) for p in results.files(tmp_path) if "rl2" in p.name]
    assert {t["seed"][0].as_py() for t in rows} == {0, 1}
    assert {t["train_env_steps"][0].as_py() for t in rows} == {900}
    assert {t["supervision"][0].as_py() for t in rows} == {"reward"}
    run(*base, capsys=capsys)
    assert models == [
        (r / "model.safetensors").stat().st_mtime_ns for r in runs
    ]  # not trained again


def test_refused_inner_steps_are_said_where_training_ends_and_where_it_is_played(tmp_path, capsys):
    method, out = (
        "maml:inner_lr=3.0,max_step=1.5,hidden=8,tasks_per_update=4",
        str(tmp_path / "run"),
    )
    _, err = run(
        "train", method, "--family", "gridnavi", "--budget", "2000", "--out", out, capsys=capsys
    )
    assert f"{out}: left out of training, as no number or too long: " in err
    assert "of the tasks (an inner step was refused), in" in err
    played = ["evaluate", out, "--family", "gridnavi", "--track", "F", "--trials", "42"]
    said, _ = run(*played, capsys=capsys)
    share = json.loads(run(*played, "--json", capsys=capsys)[0].splitlines()[-1])
    assert share["metric"] == "refused_steps"
    assert share["n"] == 42 * 2  # a step after every second one of four episodes
    count = round(share["mean"] * share["n"])
    assert 0 < count < 84
    assert said.endswith(
        f"maml (run) on gridnavi: gradient steps refused at test, as no number or too long: {count} of 84 on id.\n"
    )
    assert "refused_steps" not in said
    assert (
        "refused"
        not in run("evaluate", "random", "--family", "gridnavi", "--trials", "42", capsys=capsys)[0]
    )


def test_a_run_folder_is_checked_like_any_agent(tmp_path, capsys):
    flags, out = ["--family", "bandit:k=2,n=4"], str(tmp_path / "run")
    run(
        "train",
        "maml:hidden=8,tasks_per_update=2",
        *flags,
        "--budget",
        "100",
        "--out",
        out,
        capsys=capsys,
    )
    assert f"{out} keeps the contract" in run("check", out, capsys=capsys)[0]
    other = run("check", out, "--family", "bandit:k=3,n=4", code=2, capsys=capsys)
    assert "was trained on bandit:k=2,n=4" in other[1]


def test_two_comparisons_do_not_share_a_folder(tmp_path, capsys):
    with files.locked(tmp_path):
        _, err = run(
            "compare", *SMALL, "--methods", "random", "--out", str(tmp_path), code=2, capsys=capsys
        )
    assert "Another process is writing" in err


def test_a_comparison_of_another_budget_or_tuning_is_refused(tmp_path, capsys):
    base = [
        "compare",
        *SMALL,
        "--splits",
        "id",
        "--methods",
        f"random,{TINY}",
        "--out",
        str(tmp_path),
    ]
    run(*base, "--budget", "600", capsys=capsys)
    _, err = run(*base, "--budget", "900", code=2, capsys=capsys)
    assert (
        "training budget on bandit: 600 environment steps there, 900 environment steps here" in err
    )
    _, err = run(*base, "--budget", "600", "--tuning", "2", code=2, capsys=capsys)
    assert "tuning configurations of learned methods: 1 there, 2 here" in err
    (tmp_path / "plan.json").write_text('{"bandit": 200}')
    _, err = run(*base, "--budget", "600", code=2, capsys=capsys)
    assert "plan.json cannot be read (another version wrote it)" in err


def test_an_axis_that_only_some_families_have_is_played_there(tmp_path, capsys):
    flags = [
        "--families",
        "bandit:k=2,n=3,gridnavi",
        "--splits",
        "id,shift/prior",
        "--trials",
        "42",
        "--methods",
        "random",
    ]
    run("compare", *flags, "--tracks", "O", "--out", str(tmp_path), capsys=capsys)
    assert len(results.files(tmp_path)) == 6


def test_results_are_the_same_bytes_whatever_their_folder_is_called(tmp_path, capsys):
    """Names that some readers take for columns of a dataset."""
    played = ("compare", *SMALL, "--methods", "ucb1,random,oracle", "--splits", "id", "--out")
    run(*played, str(tmp_path / "plain"), capsys=capsys)
    run(*played, str(tmp_path / "method=rl2"), capsys=capsys)
    for name in ("trial_return_sum=0", "track=C"):
        shutil.copytree(tmp_path / "plain" / "rows", tmp_path / name / "rows")
        run("report", str(tmp_path / name), capsys=capsys)
    written = [
        (tmp_path / name / "tables" / "results.csv").read_bytes() for name in os.listdir(tmp_path)
    ]
    assert b"ucb1" in written[0]
    assert written == written[:1] * 4


def test_one_trial_is_valid_json(capsys):
    out, _ = run("evaluate", "random", "--trials", "1", "--json", capsys=capsys)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]
    assert any(line["low"] is None for line in lines)


def test_a_fault_of_ours_is_one_line_and_keeps_its_details(capsys, monkeypatch):
    from experiments.commands import list as listing

    monkeypatch.setattr(listing, "entries", lambda *_: 1 / 0)
    _, err = run("list", code=1, capsys=capsys)
    assert "ZeroDivisionError" in err
    assert "Traceback" not in err
    assert "Traceback" in Path(err.split("details are in ")[1].strip()[:-1]).read_text()


def test_without_a_folder_for_temporary_files_a_fault_is_still_a_line(capsys, monkeypatch):
    """A full one: the traceback cannot be kept. If that is what ended the command, it is no fault of ours."""
    from experiments.commands import list as listing

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    monkeypatch.setattr(listing, "entries", lambda *_: 1 / 0)
    _, err = run("list", code=1, capsys=capsys)
    assert "ZeroDivisionError" in err
    assert "No space left on device. Make room, or name another folder in TMPDIR." in err
    monkeypatch.setattr(listing, "entries", full)
    _, err = run("list", code=2, capsys=capsys)
    assert err.startswith(
        "metabridge: no temporary file could be written: No space left on device. Make room"
    )


def test_evaluate_needs_no_folder_for_temporary_files(capsys, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryDirectory"):
        monkeypatch.setattr(tempfile, name, full)
    out, _ = run("evaluate", "ucb1", "--trials", "50", "--json", capsys=capsys)
    assert "score_oracle" in {json.loads(line)["metric"] for line in out.splitlines()}


def test_nothing_is_written_when_a_name_is_wrong(tmp_path, capsys):
    run(
        "compare",
        *SMALL,
        "--methods",
        "random,bays",
        "--out",
        str(tmp_path / "out"),
        code=2,
        capsys=capsys,
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_comparison_goes_on_where_it_was(tmp_path):
    """SIGKILL a real process between two cells; the second run finishes, and the rows equal an uninterrupted run's."""
    flags = ["--families", "gridnavi", "--trials", "2100", "--splits", "id,shift/slip"]
    command = [
        sys.executable,
        "-m",
        "experiments.cli",
        "compare",
        *flags,
        "--methods",
        "random,oracle,thompson",
    ]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        [*command, "--out", str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not results.files(killed) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(results.files(killed))
    assert kept >= 1
    for out in (killed, whole):
        subprocess.run(
            [*command, "--out", str(out)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    clocks = ("test_seconds",)
    for a, b in zip(results.files(killed), results.files(whole), strict=True):
        assert a.name == b.name
        assert pq.read_table(a).drop_columns(clocks).equals(pq.read_table(b).drop_columns(clocks))


def test_worker_processes_give_the_same_rows(tmp_path, monkeypatch):
    """Cells played in processes of their own equal cells played here, and a failure comes back as a value."""
    here, there = (
        compare.Grid(
            families=compare.distinct(["bandit:k=2,n=3"]),
            methods=("random", "bayes", TINY),
            splits=("id",),
            trials=lambda _family: 300,
            budget=lambda _method, _family: Budget(600.0),
            seeds=(0, 1),
            configurations=1,
            out=tmp_path / name,
            memory=10**9,
        )
        for name in ("here", "there")
    )
    assert here.play() == 0
    monkeypatch.setattr(pool, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(pool.os, "cpu_count", lambda: 2)
    assert there.play() == 0
    for a, b in zip(
        results.files(tmp_path / "here"), results.files(tmp_path / "there"), strict=True
    ):
        assert (
            pq.read_table(a)
            .drop_columns(["test_seconds", "train_seconds"])
            .equals(pq.read_table(b).drop_columns(["test_seconds", "train_seconds"]))
        )


def test_smoke_is_fixed_for_ever():
    smoke = SIZES["smoke"]
    assert smoke.families == ("bandit:k=5,n=10",)
    assert smoke.methods == ("random", "bayes", "bayes_train", "ucb1", "rl2")
    assert smoke.splits == ("id", "shift/prior")


@pytest.mark.parametrize("size", SIZES)
def test_every_size_names_real_things(size):
    from bridge.tasks import family as make_family

    for spec in SIZES[size].families:
        made = make_family(spec)
        assert made.id == spec
        assert compare.expand_splits(made, SIZES[size].splits, strict=False)
        assert any(agents.plays(m, made) for m in SIZES[size].methods)
        assert SIZES[size].trials[made.name] > 0


def test_split_patterns():
    from bridge.tasks import family as make_family

    made = make_family("bandit")
    assert compare.expand_splits(made, ("id", "shift/gap")) == (
        "id",
        *(f"shift/gap/{i}" for i in range(1, 5)),
    )
    assert compare.expand_splits(made, ("shift/gap/0",)) == ("shift/gap/0",)
    assert len(compare.expand_splits(made, ("shift/*/4",))) == len(made.axes)
    assert compare.expand_splits(made, ("shift/slip",), strict=False) == ()
    with pytest.raises(UserError, match="Unknown axis"):
        compare.expand_splits(made, ("shift/slip",))


def test_train_evaluate_and_resume(tmp_path, capsys):
    spec, out = "rl2:hidden=8,steps_per_update=300,minibatches=2", tmp_path / "run"
    base = ["train", spec, "--family", "bandit:k=2,n=3", "--budget", "900", "--out", str(out)]
    assert "Trained" in run(*base, capsys=capsys)[0]
    assert "Add --resume" in run(*base, code=2, capsys=capsys)[1]
    assert (
        "its seed is 0, this one's is 1"
        in run(*base, "--seed", "1", "--resume", code=2, capsys=capsys)[1]
    )
    played, _ = run(
        "evaluate",
        str(out),
        "--family",
        "bandit:k=2,n=3",
        "--trials",
        "500",
        "--json",
        capsys=capsys,
    )
    lines = {line["metric"]: line for line in map(json.loads, played.splitlines())}
    assert lines["trial_return"]["method"] == "rl2 (run)"
    assert {"score_bayes", "minus_bayes"} <= lines.keys()
    _, err = run("evaluate", str(out), "--family", "bandit:k=2,n=4", code=2, capsys=capsys)
    assert "was trained on bandit:k=2,n=3, not on bandit:k=2,n=4" in err


def test_check_prints_a_line_a_rule(capsys, write):
    out, _ = run("check", "bandit:k=2,n=3", capsys=capsys)
    assert out.count("holds") > 5
    assert "keeps the contract" in out
    own = write(
        "own.py",
        "from bridge.references.random import Random\n"
        "class Forgetful(Random):\n"
        "    def act(self, memory, obs, rng, *, explore):\n"
        "        import torch\n"
        "        decision = super().act(memory, obs, rng, explore=explore)\n"
        "        return decision._replace(action=torch.randint(5, decision.action.shape))\n",
    )
    out, _ = run("check", f"{own}:Forgetful", code=1, capsys=capsys)
    assert "broken" in out
    assert " broken\n" in out


def test_check_says_once_that_an_environment_does_not_exist(capsys):
    out, err = run("check", "gym:CartPol-v1", code=2, capsys=capsys)
    assert not out
    assert err.count("There is no Gymnasium environment 'CartPol-v1'") == 1


LONG = "a" * 300


@pytest.mark.parametrize(
    "line",
    [
        ["evaluate", LONG],
        ["report", LONG],
        ["check", LONG],
        ["data", "ucb1", "--out", LONG],
        ["evaluate", f"lora_reward:run={LONG}"],
        ["compare", "--methods", "random", "--trials", "4", "--out", LONG],
    ],
)
def test_a_name_that_no_file_can_have_is_refused(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _, said = run(*line, code=2, capsys=capsys)
    assert "255" in said
    assert "fault of ours" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("what", ["families", "splits"])  # of one buffer, and of several
@pytest.mark.parametrize("buffered", ["", "1"])
def test_output_that_cannot_be_written_is_told(what, buffered):
    command = [sys.executable, "-m", "experiments.cli", "list", what, "--json"]
    environment = os.environ | {"PYTHONUNBUFFERED": buffered}
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment
        )
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "standard output could not be written: the disk is full" in ran.stderr
