"""Training in several processes: the same mathematics as in one, and as safe to kill."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.training import checkpoint
from bridge.training.budget import Budget
from bridge.training.loop import CLOCKS
from bridge.training.run_folder import read_cost
from experiments import registry, runs
from tests.experiments.commands import run as command
from tests.permissions import forbidden, shared_path  # noqa: F401 - a fixture

FAMILY = "bandit:k=2,n=3"
METHOD = "rl2:hidden=8,steps_per_update=240,minibatches=2"


def run(out: Path, *, method: str = METHOD, family: str = FAMILY, budget=None, **options):
    made = runs.Run(
        method=method, family=family, seed=0, budget=budget or Budget(2400.0), out=out, **options
    )
    assert runs.train_quietly(made, resume=runs.is_folder(str(out)))
    return checkpoint.load(out / "model.safetensors")


def lines(folder: Path) -> list[dict]:
    read = [json.loads(text) for text in (folder / "train.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in CLOCKS} for line in read]


def test_two_processes_take_the_step_that_one_takes(tmp_path):
    """With whole batches the two halves are the trials of one process, and averaged gradients are its gradient."""
    method = "rl2:hidden=8,steps_per_update=240,minibatches=1,epochs=2,lr=0.01"
    one = run(tmp_path / "1", method=method, budget=Budget(960.0))
    two = run(tmp_path / "2", method=method, budget=Budget(960.0), processes=2)
    assert one["env_steps"] == two["env_steps"] == 960
    start = (
        registry.LEARNERS["rl2"]
        .learner(make_family(FAMILY), runs.settings(method), seed=0)
        .state_dict()
    )
    for name, weight in one["network"].items():
        torch.testing.assert_close(two["network"][name], weight, atol=2e-4, rtol=0)
        moved = (weight - start["network"][name]).abs().max()
        assert moved > 5e-3, f"{name} stayed where it was, so that its agreement says nothing"
    assert read_cost(tmp_path / "2", print).flops == pytest.approx(
        read_cost(tmp_path / "1", print).flops
    )
    assert [line["trial_return"] for line in lines(tmp_path / "2")] == pytest.approx(
        [line["trial_return"] for line in lines(tmp_path / "1")], abs=1e-5
    )


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}]
from tests.experiments.test_runs import run_with_many_checkpoints
if __name__ == "__main__":
    run_with_many_checkpoints(Path(sys.argv[1]))
"""


def run_with_many_checkpoints(out: Path) -> None:
    """Two processes; the first one writes a checkpoint after every update."""
    run(out, budget=Budget(9600.0), processes=2, checkpoint_seconds=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_two_processes_killed_end_as_if_they_never_were(tmp_path, stop):
    """SIGINT goes to the whole group, as from a terminal; what asks to stop is agreed between the processes."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_with_many_checkpoints(whole)
    script, log = tmp_path / "script.py", broken / "train.jsonl"
    script.write_text(SCRIPT.format(root=str(Path(__file__).parents[2])))
    moments = random.Random(int(stop))
    for _ in range(2):
        enough = len(lines(broken)) + moments.randint(3, 12) if log.exists() else 5
        process = subprocess.Popen(
            [sys.executable, str(script), str(broken)],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and not (
            log.exists() and log.read_text().count("\n") >= enough
        ):
            time.sleep(0.001)
        assert process.poll() is None, "it had ended before it could be stopped"
        os.killpg(process.pid, stop) if stop == signal.SIGINT else process.kill()
        process.wait()
    assert 3 <= len(lines(broken)) < 40
    run_with_many_checkpoints(broken)
    assert lines(broken) == lines(whole)
    assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of one update, to be copied."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(folder, budget=Budget(240.0))
    return folder


def test_a_run_folder_whose_config_says_too_little_is_refused(trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    about = json.loads((tmp_path / "config.json").read_text())
    del about["method"], about["seed"]
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"config\.json cannot be read: missing method, seed"):
        runs.load_agent(str(tmp_path), make_family(FAMILY))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("config", [1], r"config should be an object, found \[1\]"),
        ("seed", "0", "seed should be a whole number, found '0'"),
        ("method", ["rl2"], "method should be a string"),
        ("tuning_configs", "4", "tuning_configs should be a whole number"),
        (
            "config",
            {"hidden": "wide"},
            "hidden in '.*/config.json' must be a whole number, found 'wide'",
        ),
        (
            "config",
            {"hidden": 8.5},
            "hidden in '.*/config.json' must be a whole number, found '8.5'",
        ),
        ("config", {"lr": None}, "lr in '.*/config.json' must be a number, found 'None'"),
        ("config", {"colour": 1}, "Unknown key in .*/config.json: 'colour'"),
    ],
)
def test_a_config_that_was_edited_is_refused_by_what_is_wrong(key, value, said, trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    about = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(about | {key: value}))
    with pytest.raises(UserError, match=said):
        runs.load_agent(str(tmp_path), make_family(FAMILY))


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"suite_version": NaN}', "{}"])
def test_a_config_that_is_damaged_is_refused_by_name(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(
        UserError, match=r"config\.json .* Put a copy of it back, or train in another folder"
    ):
        runs.load_agent(str(tmp_path), make_family(FAMILY))


def test_a_folder_of_config_and_model_alone_plays_the_same(tmp_path):
    """What a colleague sends: no checkpoints, no log."""
    run(tmp_path)
    family = make_family(FAMILY)
    played = [evaluate(runs.load_agent(str(tmp_path), family), family, Plan(trials=100)).total]
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "train.jsonl").unlink()
    played.append(evaluate(runs.load_agent(str(tmp_path), family), family, Plan(trials=100)).total)
    assert all((played[0][name] == played[1][name]).all() for name in played[0])
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no checkpoint to play"):
        runs.load_agent(str(tmp_path), family)


def test_checkpoints_come_as_often_as_asked_and_runs_go_on_to_larger_budgets(tmp_path, capsys):
    base = ["train", METHOD, "--family", FAMILY, "--out", str(tmp_path / "run")]
    _, err = command(*base, "--budget", "720", "--checkpoint-every", "-1", code=2, capsys=capsys)
    assert "--checkpoint-every is a number of seconds, 0 or more; found -1.0" in err
    command(*base, "--budget", "720", "--checkpoint-every", "0", capsys=capsys)
    found = sorted(int(path.stem) for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert found == [480, 720]
    assert "checkpoint" not in (tmp_path / "run" / "config.json").read_text()
    _, err = command(*base, "--budget", "1200", code=2, capsys=capsys)
    assert (
        "Add --resume to train it further, for 1,200 environment steps in place of 720 environment steps"
        in err
    )
    _, err = command(*base, "--budget", "1200", "--resume", capsys=capsys)
    assert "is trained further, for 1,200 environment steps in place of 720" in err
    assert "a run with that budget from the start would differ" in err
    found = sorted(int(path.stem) for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert found == [720, 1200]
    assert command(*base, "--budget", "720", "--resume", code=2, capsys=capsys)[1].startswith(
        "metabridge: "
    )


def test_a_folder_that_may_not_be_entered_is_told_so(shared_path, capsys):  # noqa: F811
    run(shared_path / "run", budget=Budget(240.0))
    with forbidden(shared_path / "run"):
        _, err = command(
            "evaluate", str(shared_path / "run"), "--family", FAMILY, code=2, capsys=capsys
        )
    assert "cannot be read: Permission denied. Ask its owner" in err


@pytest.mark.parametrize("evaluations", [0, 2])
def test_evaluations_while_training_change_nothing_but_the_log(evaluations, tmp_path):
    usual = run(tmp_path / "usual")
    other = run(tmp_path / "other", evaluations=evaluations)

    assert sum("id_val_trial_return" in line for line in lines(tmp_path / "other")) == evaluations
    for name, weight in usual["network"].items():
        assert torch.equal(weight, other["network"][name])


def test_a_budget_that_one_update_leaves_far_behind_is_refused(tmp_path, capsys):
    _, err = command(
        "train", "mtrl", "--budget", "100", "--out", str(tmp_path / "run"), code=2, capsys=capsys
    )
    assert (
        "One update takes 2,000 environment steps, 20.0 times the budget of 100 environment steps"
        in err
    )
    assert "Give --budget 2000 or more" in err
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_run_that_was_trained_further_says_so_on_its_card(tmp_path):
    run(tmp_path, budget=Budget(480.0))
    assert (
        runs.load_agent(str(tmp_path), make_family(FAMILY)).card.selection_rule == "last checkpoint"
    )
    run(tmp_path, budget=Budget(960.0))
    card = runs.load_agent(str(tmp_path), make_family(FAMILY)).card
    assert card.selection_rule == "last checkpoint, trained further"
    assert read_cost(tmp_path, print).env_steps == 960


def test_a_run_folder_without_a_distribution_of_actions_acts_as_it_was_trained(tmp_path):
    """Folders of before the choice have none in their config.json, and all drew from a Beta."""
    method = "icl_ad:hidden=16,layers=1,heads=2,window=8,episodes=1,steps_per_update=1000"
    run(tmp_path, method=method, family="sparse_point", budget=Budget(1_000.0))
    about, family = json.loads((tmp_path / "config.json").read_text()), make_family("sparse_point")
    assert about["config"].pop("distribution") == "clipped_gaussian"
    for kind in ("clipped_gaussian", "beta"):
        assert runs.load_agent(str(tmp_path), family).policy.config.distribution == kind
        (tmp_path / "config.json").write_text(json.dumps(about))


@pytest.mark.slow
def test_another_number_of_processes_is_another_run(tmp_path):
    run(tmp_path)
    with pytest.raises(UserError, match="its processes is 1, this one's is 2"):
        run(tmp_path, processes=2)


@pytest.mark.parametrize(
    ("budget", "unit"), [(Budget(0.3, "seconds"), "seconds"), (Budget(1e7, "flops"), "flops")]
)
def test_budgets_of_other_units_end_when_they_are_spent(tmp_path, budget, unit):
    run(tmp_path, budget=budget)
    cost, last = read_cost(tmp_path, print), lines(tmp_path)[-1]
    assert getattr(cost, unit) >= budget.amount
    assert cost.env_steps == last["env_steps"] > 0
    if unit == "flops":  # seconds are another number on another day
        before = lines(tmp_path)[-2]["flops"]
        assert before < budget.amount <= last["flops"]


@pytest.mark.parametrize(
    ("core", "gates", "recurrent"), [("gru", 3, True), ("lstm", 4, True), ("linear", 2, False)]
)
def test_flops_are_those_of_the_matrix_products(tmp_path, core, gates, recurrent):
    """By hand: 80 trials of 3 steps, once played, once judged, twice learned on (a backward pass costs two forward)."""
    run(
        tmp_path,
        method=f"rl2:core={core},hidden=8,steps_per_update=240,minibatches=2,epochs=2",
        budget=Budget(240.0),
    )
    inputs, hidden, actions = 1 + 2 + 2, 8, 2
    from_input, from_state = 2 * inputs * gates * hidden, 2 * hidden * gates * hidden * recurrent
    policy, critic = 2 * hidden * actions, 2 * hidden * (hidden + 1)
    played, judged = from_input + from_state + policy, from_input + from_state + policy + critic
    learned = 3 * judged - from_input  # nothing flows back into observations
    if (
        core == "lstm"
    ):  # nor, there, into the state before the first step: autograd knows that it is constant
        learned -= from_state / 3
    assert read_cost(tmp_path, print).flops == 240 * (played + judged + 2 * learned)


def test_mixed_precision_and_the_tracker(tmp_path):
    run(tmp_path / "plain")
    run(tmp_path / "mixed", precision="bf16", tracker="tensorboard")
    assert lines(tmp_path / "mixed")[0]["loss_value"] != lines(tmp_path / "plain")[0]["loss_value"]
    (events,) = (tmp_path / "mixed").rglob("events.out.tfevents.*")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(events.parent)).Reload()
    logged = lines(tmp_path / "mixed")
    assert [event.step for event in read.Scalars("trial_return")] == [
        line["env_steps"] for line in logged
    ]
    assert read.Scalars("entropy")[-1].value == pytest.approx(logged[-1]["entropy"])


@pytest.mark.gpu
def test_trains_on_a_gpu(tmp_path):
    run(tmp_path, device="cuda", precision="bf16")
    assert "id_val_trial_return" in lines(tmp_path)[-1]


def test_a_method_that_is_given_ids_says_what_it_needs_if_there_are_none():
    grid = make_family("gridnavi")
    said = runs.without_ids("mtrl_finetune:hidden=8", grid)
    assert said.startswith("gridnavi has no known tasks, so mtrl_finetune learns one policy")
    remedy = said.partition("--family ")[2]
    assert make_family(remedy).tasks == 21
    assert not runs.without_ids("mtrl", make_family(remedy))
    assert not runs.without_ids("rl2", grid)
    assert (
        make_family(
            runs.without_ids("mtrl", make_family("bandit:k=5,n=10")).partition("--family ")[2]
        ).tasks
        == 20
    )
