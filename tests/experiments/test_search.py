"""Tuning: the same draws for everyone, the best on id_val named, and what was tried kept in the rows."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bridge.errors import DivergenceError, UserError
from bridge.evaluation import results
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.tasks.base import SUITE_VERSION
from bridge.training.budget import Budget
from experiments import cli, registry, runs, search

FAMILY, TINY = "bandit:k=2,n=3", "rl2:hidden=8,steps_per_update=240,minibatches=2"


def tune(out, *, configs=3, method=TINY, **options):
    settings = {"seed": 0, "budget": Budget(480.0)} | options
    search.tune(method, FAMILY, configs=configs, out=out, **settings)
    return json.loads((out / "tuning.json").read_text())


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    """A search over three configurations, to be copied."""
    folder = tmp_path_factory.mktemp("searched") / "out"
    tune(folder)
    return folder


def test_the_best_on_id_val_is_chosen_and_nothing_is_done_twice(tmp_path):
    found = tune(tmp_path)
    means = [entry["mean"] for entry in found["configurations"]]
    assert means == sorted(means, reverse=True)
    assert found["chosen"] == found["configurations"][0]["method"]
    assert {entry["cost"]["env_steps"] for entry in found["configurations"]} == {480}
    model = tmp_path / "000" / "model.safetensors"
    written = model.stat().st_mtime_ns
    longer = tune(tmp_path, configs=4)
    assert model.stat().st_mtime_ns == written
    assert {entry["method"] for entry in longer["configurations"]} > {
        e["method"] for e in found["configurations"]
    }
    assert search.chosen(str(tmp_path), FAMILY) == (longer["chosen"], 4)


def test_what_the_user_sets_stays_and_the_defaults_are_among_the_candidates():
    specs = search.candidates("rl2:lr=0.003,hidden=8", 5, seed=0)
    assert specs[0] == "rl2:hidden=8,lr=0.003"
    assert all("lr=0.003" in spec and "hidden=8" in spec for spec in specs)
    assert len(set(specs)) == 5
    for spec in specs:
        runs.settings(spec)


def test_another_search_in_the_folder_is_refused(searched, tmp_path):
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    with pytest.raises(UserError, match="seed: 0 there, 1 here"):
        tune(tmp_path, seed=1)
    with pytest.raises(UserError, match="was tuned on bandit:k=2,n=3"):
        search.chosen(str(tmp_path), "bandit:k=2,n=4")
    with pytest.raises(UserError, match="--configs is 1 or more"):
        tune(tmp_path / "none", configs=0)


def test_what_cannot_be_trained_on_the_family_leaves_no_folder(tmp_path):
    with pytest.raises(UserError, match="Specialists need known tasks"):
        tune(tmp_path / "none", method="mtrl:shared=nothing")
    assert not (tmp_path / "none").exists()


def test_a_configuration_that_fails_is_passed_over(tmp_path, monkeypatch):
    real = runs.train_rest

    def fails_once(run, advance):
        if run.out.name == "001":
            raise DivergenceError("it is no longer a number")
        real(run, advance)

    monkeypatch.setattr(runs, "train_rest", fails_once)
    found = tune(tmp_path)
    assert found["configurations"][-1]["error"] == "it is no longer a number"
    assert found["configurations"][0]["mean"] is not None


def test_any_other_failure_stops_the_search_and_it_goes_on_later(tmp_path, monkeypatch):
    real = runs.train_rest

    def fails(run, advance):
        if run.out.name == "001":
            raise MemoryError("too large")
        real(run, advance)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "train_rest", fails)
        with pytest.raises(MemoryError):
            tune(tmp_path)
    with pytest.raises(UserError, match=r"is not finished\. Go on with it: metabridge tune rl2"):
        search.chosen(str(tmp_path), FAMILY)
    assert len(tune(tmp_path)["configurations"]) == 3


def test_a_record_is_not_shortened_and_a_damaged_one_is_refused(searched, tmp_path):
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    with pytest.raises(UserError, match="has tried 3 configurations already"):
        tune(tmp_path, configs=2)
    for damage in ("null", "[1]", '{"chosen": "rl2"}', "{"):
        (tmp_path / "tuning.json").write_text(damage)
        with pytest.raises(UserError, match=r"tuning.json cannot be read"):
            search.chosen(str(tmp_path), FAMILY)
        with pytest.raises(UserError, match=r"tuning.json cannot be read"):
            tune(tmp_path)


@pytest.mark.parametrize("listed", [[], [5], [{"method": "rl2"}]])
def test_a_search_that_does_not_list_what_it_chose_is_refused(listed, tmp_path):
    about = {
        "suite_version": SUITE_VERSION,
        "family": FAMILY,
        "family_hash": make_family(FAMILY).hash,
        "method": TINY,
        "seed": 0,
        "budget": {},
        "training_seed": 1000,
        "rule": "best",
        "chosen": TINY,
        "configurations": [{"method": TINY}],
    }
    (tmp_path / "tuning.json").write_text(json.dumps(about))
    assert search.chosen(str(tmp_path), FAMILY) == (TINY, 1)
    (tmp_path / "tuning.json").write_text(json.dumps(about | {"configurations": listed}))
    for ask in (lambda: search.chosen(str(tmp_path), FAMILY), lambda: tune(tmp_path)):
        with pytest.raises(
            UserError, match=r"tuning\.json cannot be read: its configurations do not have the one"
        ):
            ask()


def test_what_is_reported_was_not_selected_on(tmp_path):
    with pytest.raises(UserError, match="seed 1000 is the one that tuning trains with"):
        runs.Run(
            method=TINY,
            family=FAMILY,
            seed=1000,
            budget=Budget(1.0),
            out=tmp_path,
            tuning_configs=2,
        )
    assert Plan().eval_seed != search.EVAL_SEED
    every = ",".join(
        f"{key}={getattr(runs.settings('rl2'), key)}" for key in registry.LEARNERS["rl2"].space
    )
    with pytest.raises(UserError, match="leaves nothing to tune"):
        search.candidates(f"rl2:{every}", 2, seed=0)


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from test_search import tune
from bridge.training.budget import Budget
from experiments import pool
if __name__ == "__main__":
    pool._WORTH_PROCESSES = 0
    pool.os.cpu_count = lambda: 2
    tune(Path(sys.argv[1]), configs=6, budget=Budget(60.0, "seconds"))
"""


@pytest.mark.slow
def test_one_interrupt_ends_all_workers(tmp_path):
    """Of six searches of a minute each, none is begun after Ctrl-C; what was trained is kept."""
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    process = subprocess.Popen(
        [sys.executable, str(script), str(out)], stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("*/train.jsonl"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in err
    assert len(list(out.glob("*/config.json"))) == 2
    assert len(list(out.glob("*/checkpoints/*"))) == 2


def test_train_and_compare_say_how_many_configurations_there_were(searched, tmp_path, capsys):
    shutil.copytree(searched, tmp_path / "tuned")
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(tmp_path / "tuned"), "--family", FAMILY])
    assert "is a tuning folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(
            [
                "train",
                str(tmp_path / "tuned"),
                "--family",
                FAMILY,
                "--budget",
                "480",
                "--out",
                str(tmp_path / "run"),
            ]
        )
    agent = runs.load_agent(str(tmp_path / "run"), make_family(FAMILY))
    assert agent.card.tuning_configs == 3
    assert agent.card.selection_rule == "last checkpoint of the best of 3 configurations on id_val"
    flags = [
        "--methods",
        f"random,{TINY}",
        "--trials",
        "200",
        "--splits",
        "id",
        "--budget",
        "480",
        "--tuning",
        "2",
    ]
    with pytest.raises(SystemExit) as stop:
        cli.main(["compare", "--families", FAMILY, *flags, "--out", str(tmp_path / "compared")])
    assert stop.value.code == 0, capsys.readouterr().err
    rows = [
        row
        for path in results.files(tmp_path / "compared")
        for row in pq.read_table(path).to_pylist()
    ]
    by_method = {row["method"]: row for row in rows}
    assert by_method[TINY]["tuning_configs"] == 2
    assert by_method[TINY]["train_env_steps"] == 480
    assert by_method[TINY]["train_flops"] > 0
    assert by_method["random"]["train_env_steps"] == 0
