"""Runs that ship: folders with the agent alone play as the run does, and their specs work as run folders do."""

import json
import math
import re

import pytest
import torch
from safetensors.torch import load_file

from bridge import files
from bridge.errors import UserError
from bridge.evaluation.evaluator import Plan, evaluate
from bridge.tasks import family
from bridge.training import train_log
from experiments import runs, specs, zoo
from tests.experiments.commands import run
from tests.experiments.conftest import TRAINED, TRAINED_ON


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A zoo of one's own, which is empty."""
    monkeypatch.setattr(zoo, "RUNS", tmp_path / "zoo")
    return tmp_path / "zoo"


@pytest.fixture
def entry(trained, shelf):
    """The spec of an icl_rl run in it."""
    runs.export(str(trained["icl_rl"]), shelf / "icl_rl" / "bandit" / "4", {"commit": "abc"})
    return "zoo:icl_rl/bandit"


@pytest.mark.parametrize("name", TRAINED)
def test_an_exported_agent_has_the_weights_of_its_run_in_half_precision(name, trained, tmp_path):
    runs.export(str(trained[name]), tmp_path / "half", {})
    made = family(TRAINED_ON)
    whole, half = (
        runs.load_agent(str(place), made) for place in (trained[name], tmp_path / "half")
    )
    ours, theirs = half.state_dict(), whole.state_dict()
    assert ours.keys() == theirs.keys()
    for key, weights in theirs.items():
        rounded = weights.half().float() if weights.is_floating_point() else weights
        assert torch.equal(ours[key], rounded.to(weights.dtype)), key


def test_an_export_says_where_it_came_from_and_has_no_optimiser(entry, shelf, trained):
    folder = zoo.folder(entry)
    about = json.loads((folder / "config.json").read_text())
    assert about["exported"] == {"weights": "float16", "commit": "abc"}
    sizes = [(place / "model.safetensors").stat().st_size for place in (folder, trained["icl_rl"])]
    assert sizes[0] < sizes[1] / 4
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS", "config.json", "model.safetensors", "train.jsonl",
    ]  # fmt: skip


def test_a_summary_keeps_evaluations_and_all_of_the_time(tmp_path):
    lines = [
        {"env_steps": n, "seconds": 0.5} | ({"id_val_return": n} if n % 4 == 0 else {})
        for n in range(1, 11)
    ]
    log = train_log.Log(tmp_path, 0)
    for line in lines:
        log.write(line)
    (tmp_path / "out").mkdir()
    train_log.write_summary(tmp_path, tmp_path / "out")
    kept, _ = train_log.read(tmp_path / "out")
    assert [(line["env_steps"], line["seconds"]) for line in kept] == [
        (4, 2.0),
        (8, 2.0),
        (10, 1.0),
    ]


def test_a_spec_of_the_zoo_plays_and_is_tuned(entry, tmp_path, capsys):
    base = ["--family", TRAINED_ON]
    printed, _ = run("evaluate", entry, "--trials", "40", capsys=capsys)
    assert "icl_rl (zoo:icl_rl/bandit)" in printed
    lora = f"lora_reward:run={entry}/4,inner_steps=1"
    printed, _ = run("evaluate", lora, "--trials", "20", capsys=capsys)
    assert "lora_reward_icl_rl" in printed
    out = str(tmp_path / "tuned")
    printed, _ = run("finetune", entry, "--steps", "1", "--tasks", "2", "--out", out, capsys=capsys)
    assert f"metabridge evaluate {out} --family {TRAINED_ON}" in printed
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["base"]["run"] == entry
    run("data", entry, *base, "--rows", "4", "--out", str(tmp_path / "data"), capsys=capsys)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("zoo:icl_rm/bandit", "Unknown method of the zoo 'icl_rm'. Did you mean 'icl_rl'?"),
        (
            "zoo:icl_rl/bandits",
            "zoo:icl_rl/bandits is no run of the zoo, which has icl_rl on bandit. ",
        ),
        ("zoo:icl_rl/bandits", "Did you mean 'bandit'? Write zoo:icl_rl/FAMILY."),
        ("zoo:icl_rm", "Unknown method of the zoo 'icl_rm'. Did you mean 'icl_rl'?"),
        ("zoo:icl_rl/bandit/7", "icl_rl/bandit has the training seeds 4"),
        ("zoo:icl_rl/bandit/4/x", "icl_rl/bandit has the training seeds 4"),
        (
            "lora_reward:run=zoo:icl/bandit",
            "Unknown method of the zoo 'icl'. Did you mean 'icl_rl'?",
        ),
    ],
)
def test_an_unknown_entry_is_refused_with_the_nearest(spec, message, entry, capsys):
    _, error = run("evaluate", spec, "--family", TRAINED_ON, capsys=capsys, code=2)
    assert message in error


def test_an_entry_of_another_family_is_refused(entry, capsys):
    _, error = run("evaluate", entry, "--family", "bandit:k=4,n=8", capsys=capsys, code=2)
    assert f"{entry} was trained on {TRAINED_ON}, not on bandit:k=4,n=8." in error


def test_a_run_of_the_zoo_is_named_by_its_spec_in_errors(trained, shelf, tmp_path, capsys):
    """And not by the folder of this package that it is."""
    runs.export(str(trained["mtrl"]), shelf / "mtrl" / "bandit" / "4", {})
    flags = ["--family", TRAINED_ON, "--out", str(tmp_path / "x")]
    _, error = run("few-shot", "zoo:mtrl/bandit", *flags, capsys=capsys, code=2)
    assert "mtrl (zoo:mtrl/bandit/4) cannot be tuned so" in error


def test_histories_are_of_runs_as_they_are(entry, tmp_path, capsys):
    source = f"lora_reward:run={entry}"
    _, error = run("data", source, "--out", str(tmp_path / "x"), capsys=capsys, code=2)
    assert f"Name the run: {entry}" in error


@pytest.mark.parametrize(
    "command",
    [("show",), ("describe",), ("check",), ("finetune", "--split", "shift/gap/1", "--out", "x")],
)
def test_a_method_of_the_zoo_needs_a_family_here(command, entry, capsys):
    """Whatever else is named, its families are what one is told."""
    name, *flags = command
    _, error = run(name, "zoo:icl_rl", *flags, capsys=capsys, code=2)
    assert "zoo:icl_rl is no run of the zoo, which has icl_rl on bandit." in error


def test_an_exported_run_cannot_be_trained_on(entry, trained, capsys):
    about = json.loads((trained["icl_rl"] / "config.json").read_text())
    command = [
        "train",
        TRAINED["icl_rl"],
        "--family",
        TRAINED_ON,
        "--seed",
        str(about["seed"]),
        "--budget",
        "800",
    ]
    _, error = run(*command, "--out", str(zoo.folder(entry)), "--resume", capsys=capsys, code=2)
    assert "without the state of its training" in error


def test_nothing_is_exported_over_a_folder(entry, trained):
    with pytest.raises(UserError, match="is there already"):
        runs.export(str(trained["icl_rl"]), zoo.folder(entry), {})


def test_the_family_is_the_runs_own_unless_it_is_named(entry, trained):
    rl2 = str(trained["rl2"])
    for spec in (entry, rl2, f"full_reward:run={rl2}", f"lora_reward:run={entry}/4,inner_steps=2"):
        assert specs.own_family(spec) == TRAINED_ON
    for spec in ("random", "ucb1:c=0.3", "rl2:hidden=8", "lora_reward", "mine.py:Agent"):
        assert specs.own_family(spec) == "bandit:k=5,n=10"


def test_the_zoo_is_listed(entry, capsys):
    printed, _ = run("list", "zoo", "--json", capsys=capsys)
    (found,) = json.loads(printed)
    assert found | {"KiB": 0} == {
        "name": entry,
        "family": TRAINED_ON,
        "seeds": [4],
        "env_steps": 400,
        "KiB": 0,
    }
    assert 5 < found["KiB"] < 50
    run("list", "zoo", capsys=capsys)
    _, error = run("list", "zoo", "--family", "gridnavi", capsys=capsys, code=2)
    assert "zoo name theirs" in error


def test_every_run_that_ships_is_whole_and_has_its_card():
    """Milliseconds a run; runs of a method on a family differ in their weights alone, and one of them is played."""
    kinds = {}
    for entry in zoo.entries():
        files.verify(entry.folder)
        about = runs.read(entry.spec).about
        assert entry == (about["method"], family(about["family"]).name, about["seed"])
        assert f" --seed {entry.seed} " in about["exported"]["command"]
        assert about["exported"]["command"].startswith(f"metabridge train {entry.method}")
        title = f"# {entry.method} on {about['family']}, training seed {entry.seed}\n"
        assert title in (entry.folder / "README.md").read_text()
        (copy, _), (whole, half_width) = stated(entry.spec)
        assert abs(copy - whole) <= half_width
        weights = load_file(entry.folder / "model.safetensors")
        assert all(part.isfinite().all() for part in weights.values())
        shapes = {name: part.shape for name, part in weights.items()}
        kind = (about["family"], shapes)
        assert kinds.setdefault(entry[:2], kind) == kind


def stated(spec):
    """The returns of its card, each with half of its interval: as it ships, and in full precision."""
    card = (zoo.folder(spec) / "README.md").read_text()
    found = re.search(
        r"95% interval: (\S+) ±(\S+) as it is here, (\S+) ±(\S+) in full precision", card
    )
    assert found is not None
    copy, copy_width, whole, whole_width = map(float, found.groups())
    return (copy, copy_width), (whole, whole_width)


FIRST = {entry[:2]: entry.spec for entry in reversed(zoo.entries())}
"""The first run of each method on each family."""
EACH_ONCE = {
    *{method: spec for (method, _), spec in FIRST.items()}.values(),
    *{name: spec for (_, name), spec in reversed(FIRST.items())}.values(),
}
"""Every method on its first family, and every family with its last method."""


def _marks(spec):
    if specs.reads_text(spec):
        return (pytest.mark.slow, pytest.mark.llm)
    return () if spec in EACH_ONCE else pytest.mark.slow


@pytest.mark.parametrize(
    "spec",
    [pytest.param(spec, marks=_marks(spec)) for spec in sorted(FIRST.values())],
)
def test_a_run_that_ships_earns_what_its_card_says(spec):
    """Within five standard errors: one such test in a million fails by chance."""
    made = family(runs.read(spec).about["family"])
    agent = runs.load_agent(spec, made)
    n, total, squares = evaluate(agent, made, Plan(split="id", trials=84)).pooled("trial_return")
    mean = total / n
    error = math.sqrt((squares / n - mean**2) / n)
    (copy, _), _ = stated(spec)
    assert abs(mean - copy) < 5 * error


def test_the_zoo_is_small():
    sizes = [path.stat().st_size for path in zoo.RUNS.rglob("*") if path.is_file()]
    assert sum(sizes) < 12 * 2**20
    assert len(zoo.entries()) > 10
