"""``metabridge show``: what a run's folder says, whole or not, and commands that go on from there."""

import json
import shlex
import shutil

import pytest

from bridge.training import train_log
from bridge.training.run_folder import read_cost
from experiments import cli, showing
from tests.experiments.commands import run
from tests.experiments.conftest import TRAINED_ON


def copy_of(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "a copy")


def edit(folder, change) -> None:
    """Change the object in a ``config.json`` in place."""
    path = folder / "config.json"
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))


def test_a_trained_run(trained, capsys):
    folder = trained["rl2"]
    printed, _ = run("show", str(folder), "--json", capsys=capsys)
    found = json.loads(printed)
    assert found["changed"] == {
        "epochs": 1,
        "hidden": 8,
        "minibatches": 1,
        "steps_per_update": 400,
    }
    assert found["by_default"]["core"] == "gru"
    assert (found["family"], found["seed"], found["state"]) == (TRAINED_ON, 4, "trained")
    assert (found["budget"], found["spent"]) == ("400 environment steps", 1.0)
    assert found["cost"] == vars(read_cost(folder, print))
    lines, _ = train_log.read(folder)
    assert found["curve"]["points"] == [[400, lines[-1]["id_val_trial_return"]]]
    for command in found["next"]:
        cli.parse(shlex.split(command)[1:])
    printed, _ = run("show", str(folder), capsys=capsys)
    assert f"{folder}: rl2 on {TRAINED_ON}, seed 4 (trained run)" in printed
    assert "changed     epochs=1, hidden=8" in printed


def test_a_run_that_ships(capsys):
    found = showing.summary("zoo:rl2/bandit")
    assert found["kind"] == "run that ships"
    assert found["changed"] == {"critic": "task", "hidden": 32}
    assert found["command"].startswith("metabridge train rl2:critic=task,hidden=32")
    assert len(found["commit"]) == 40
    assert found["cost"]["env_steps"] == 4_000_000
    assert [steps for steps, _ in found["curve"]["points"]] == [400_000 * n for n in range(1, 11)]
    printed, _ = run("show", "zoo:rl2/bandit", capsys=capsys)
    assert max(len(line) for line in printed.splitlines() if "metabridge" not in line) <= 80
    bars = [line.count("█") for line in printed.splitlines() if "█" in line]
    assert (min(bars), max(bars), len(bars)) == (1, 40, 10)
    assert found["command"] in printed


def test_bars_without_unicode(monkeypatch, capsys):
    monkeypatch.setattr("rich.console.Console.encoding", "ascii")
    printed, _ = run("show", "zoo:rl2/bandit", capsys=capsys)
    assert "  400,000  6.483  #\n" in printed
    assert "█" not in printed


def test_the_command_of_an_unfinished_run_goes_on_with_it(trained, tmp_path, capsys):
    """The run of 400 steps was for 800."""
    folder = copy_of(trained["rl2"], tmp_path)
    (folder / "model.safetensors").unlink()
    edit(folder, lambda about: about["schedule"]["budget"].update(amount=800.0))
    found = showing.summary(str(folder))
    assert (found["state"], found["spent"]) == ("unfinished", 0.5)
    (command,) = found["next"]
    assert "--budget 800 " in command
    run(*shlex.split(command)[1:], capsys=capsys)
    assert showing.summary(str(folder))["state"] == "trained"


def test_a_run_that_was_stopped_before_its_first_checkpoint(trained, tmp_path):
    folder = copy_of(trained["rl2"], tmp_path)
    (folder / "model.safetensors").unlink()
    shutil.rmtree(folder / "checkpoints")
    found = showing.summary(str(folder))
    assert (found["state"], found["spent"]) == ("unfinished", 0.0)
    assert "There is no checkpoint yet" in found["notices"][0]
    assert found["next"][0].endswith("--resume")


def test_damaged_lines_of_the_log_are_left_out_and_named(trained, tmp_path, capsys):
    folder = copy_of(trained["rl2"], tmp_path)
    log = folder / "train.jsonl"
    log.write_text('{"env_steps": 1, "id_val_trial_return": 2.5}\n{damaged\n' + log.read_text())
    printed, _ = run("show", str(folder), capsys=capsys)
    assert "train.jsonl is damaged: line 2 is left out." in printed
    assert showing.summary(str(folder))["curve"]["points"][0] == (1, 2.5)


def test_long_curves_are_of_means_and_a_run_without_a_log_has_none(trained, tmp_path, capsys):
    folder = copy_of(trained["rl2"], tmp_path)
    log = folder / "train.jsonl"
    log.write_text("".join(f'{{"env_steps": {n}, "loss": {n}}}\n' for n in range(1, 51)))
    curve = showing.summary(str(folder))["curve"]
    assert (curve["metric"], curve["mean_of"]) == ("loss", 3)
    assert curve["points"][:2] == [(3, 2.0), (6, 5.0)]
    assert curve["points"][-1] == (50, 49.5)
    log.unlink()
    assert showing.summary(str(folder))["curve"] == {}
    assert "Learning curve" not in run("show", str(folder), capsys=capsys)[0]


def test_a_fine_tuned_run_and_an_unfinished_one(trained, tmp_path, capsys):
    out = tmp_path / "tuned"
    flags = ["--split", "shift/gap/2", "--steps", "2", "--tasks", "2", "--batch", "64"]
    run("finetune", str(trained["icl_rl"]), *flags, "--out", str(out), capsys=capsys)
    found = showing.summary(str(out))
    assert (found["state"], found["split"], found["tasks"]) == ("tuned", "shift/gap/2", 2)
    assert found["changed"] == {"batch": 64, "lr": 0.01, "steps": 2, "tasks": 2}
    assert [steps for steps, _ in found["curve"]["points"]] == [1, 2]
    assert found["next"][0] == f"metabridge evaluate {out} --splits id,shift/gap/2"
    run("show", str(out), capsys=capsys)
    (out / "adapter_model.safetensors").unlink()
    found = showing.summary(str(out))
    assert found["state"] == "unfinished"
    run(*shlex.split(found["next"][0])[1:], capsys=capsys)
    assert showing.summary(str(out))["state"] == "tuned"


def test_a_run_on_a_family_that_is_not_here_is_shown(trained, tmp_path):
    folder = copy_of(trained["icl_rl"], tmp_path)
    edit(folder, lambda about: about.update(family="maze"))
    found = showing.summary(str(folder))
    assert found["family"] == "maze"
    assert "--splits id " in found["next"][0]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("rl2", "rl2 is no run folder but a method. Describe it: metabridge describe rl2"),
        ("no/where", "no/where is no run folder"),
        ("zoo:rl3/bandit", "Did you mean 'rl2'?"),
    ],
)
def test_what_is_no_run_is_refused(place, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert message in run("show", place, capsys=capsys, code=2)[1]


def test_describe_of_a_run_folder_leads_here(trained, capsys):
    place = str(trained["rl2"])
    _, error = run("describe", place, capsys=capsys, code=2)
    assert f"{place} is the folder of a run. Show it: metabridge show {place}" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about.pop("schedule"), "missing schedule"),
        (lambda about: about["schedule"].pop("budget"), "missing budget"),
        (lambda about: about["schedule"]["budget"].update(unit="hours"), "Unknown unit"),
        (lambda about: about["schedule"]["budget"].update(amount="1"), "should be a number"),
        (lambda about: about.update(config=[]), "config should be an object"),
        (lambda about: about.update(suite_version=1), "suite version 1"),
    ],
)
def test_an_edited_config_is_refused(change, message, trained, tmp_path, capsys):
    folder = copy_of(trained["rl2"], tmp_path)
    edit(folder, change)
    assert message in run("show", str(folder), capsys=capsys, code=2)[1]
