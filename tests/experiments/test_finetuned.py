"""``metabridge finetune``: what it writes, who plays it, what is told, and what is refused."""

import dataclasses
import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModel

from bridge import files
from bridge.errors import DivergenceError, StorageError, UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.training import checkpoint
from experiments import agents, finetuned, runs
from experiments.collecting import collect
from llm_adapt import data
from llm_adapt import finetuning as llm_finetuning
from llm_adapt.base_policy import fingerprint
from llm_adapt.finetuning import Config
from llm_adapt.multi_task import OneEpisode
from llm_adapt.policy import TransformerPolicy
from llm_adapt.trainable import Finetuned
from tests.experiments.commands import run

BANDIT, GRID = "bandit:k=3,n=6", "gridnavi:episodes=1"
FLIPPED = "shift/reward_sign/4"
SMALLEST = "icl_rl:hidden=16,layers=1,heads=2,window=16,steps_per_update=120,minibatches=2"
SMALL = {"steps": 3, "lr": 0.1, "batch": 120, "tasks": 5}


def trained(method: str, family: str, out: Path) -> str:
    budget = runs.Budget(120.0)
    made = runs.Run(method=method, family=family, seed=0, budget=budget, out=out)
    assert runs.train_quietly(made, resume=False)
    return str(out)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    """It prefers some actions already, as one that was trained for longer does."""
    made = trained(SMALLEST, BANDIT, tmp_path_factory.mktemp("runs") / "base")
    change(made, "actor.weight", lambda weight: weight.mul_(100))
    return made


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> str:
    return trained(SMALLEST, GRID, tmp_path_factory.mktemp("runs") / "grid")


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> str:
    """Two shards of histories."""
    wanted = {"split": "train", "shards": 2, "rows": 20, "episodes": 0, "seed": 0}
    return str(collect("ucb1", BANDIT, **wanted, out=tmp_path_factory.mktemp("demos")))


def change(run: str, name: str, how) -> None:
    """Put other weights into a run's last checkpoint."""
    (path,) = Path(run, "checkpoints").glob("*.safetensors")
    state = checkpoint.load(path)
    how(state["learner"]["policy"][name])
    checkpoint.save(path, state)


def tune(
    base: str, out: Path, *, split: str = FLIPPED, demos: str = "", family: str = BANDIT, **settings
) -> dict:
    more = {name: settings.pop(name) for name in ("resume", "checkpoint_every") if name in settings}
    config = Config(**(SMALL | settings))
    about = finetuned.finetune(base, family, config, out, split=split, demos=demos, **more)
    assert about is not None
    return about


def totals(agent, split: str = FLIPPED) -> dict:
    return evaluate(agent, make_family(BANDIT), Plan(split=split, trials=60)).total


def same(one: dict, two: dict) -> bool:
    return all(np.array_equal(one[metric], two[metric], equal_nan=True) for metric in one)


@pytest.mark.parametrize("tuner", ["lora", "full", "head", "ia3", "prompt"])
def test_a_tuned_folder_is_whole_and_plays(tuner, base, tmp_path):
    own = tmp_path / "base"
    shutil.copytree(base, own)
    before = totals(runs.load_agent(base, make_family(BANDIT)))
    about = tune(str(own), tmp_path / "tuned", tuner=tuner)
    shutil.rmtree(own)
    (tmp_path / "tuned").rename(tmp_path / "moved")
    agent = agents.load(str(tmp_path / "moved"), make_family(BANDIT), FLIPPED)
    assert not same(totals(agent), before)
    card = agent.card
    assert card.method == f"{tuner}_icl_rl (moved)"
    assert (card.supervision, card.selection_rule) == ("reward, then reward", "last gradient step")
    assert (
        card.params_trained == about["params_trained"] < about["params_total"] == card.params_total
    )
    read = json.loads((tmp_path / "moved" / "config.json").read_text())
    assert read | {"env_steps": 120} == about
    assert read["tasks"] == [(1 << 40) + i for i in range(5)]
    assert (read["split"], read["signal"], read["grad_steps"]) == (FLIPPED, "reward", 3)
    assert read["base"]["fingerprint"] == fingerprint(
        TransformerPolicy.from_pretrained(tmp_path / "moved" / "base")
    )
    lines = [
        json.loads(line) for line in (tmp_path / "moved" / "train.jsonl").read_text().splitlines()
    ]
    assert [(line["grad_steps"], line["env_steps"]) for line in lines] == [
        (1, 120),
        (2, 120),
        (3, 120),
    ]
    assert not (tmp_path / "moved" / "checkpoints").exists()
    assert (tmp_path / "moved" / "tuned").is_dir() == (tuner in ("full", "head"))


@pytest.mark.parametrize("tuner", ["lora", "full", "head", "ia3"])
def test_without_a_step_it_plays_as_the_base_bit_for_bit(tuner, base, tmp_path):
    tune(base, tmp_path / "tuned", tuner=tuner, steps=0)
    played = [
        totals(agents.load(place, make_family(BANDIT), "id"))
        for place in (base, str(tmp_path / "tuned"))
    ]
    assert same(*played)


@pytest.mark.filterwarnings("ignore")
def test_peft_opens_the_folder(base, tmp_path):
    tune(base, tmp_path / "tuned")
    opened = peft.PeftModel.from_pretrained(
        AutoModel.from_pretrained(tmp_path / "tuned" / "base"), str(tmp_path / "tuned")
    )
    policy = finetuned.load_agent(str(tmp_path / "tuned"), make_family(BANDIT)).policy
    tokens = torch.linspace(-1, 1, 2 * 6 * policy.layout.width).view(2, 6, -1)
    torch.testing.assert_close(opened(tokens).out, policy(tokens).out, atol=1e-5, rtol=0)


def test_the_command_tunes_on_reward_and_on_demonstrations(base, demos, tmp_path, capsys):
    flags = ["--family", BANDIT, "--steps", "2", "--batch", "120"]
    out, _ = run(
        "finetune", base, *flags, "--split", FLIPPED, "--out", str(tmp_path / "a"), capsys=capsys
    )
    assert f"metabridge evaluate {tmp_path / 'a'} --family {BANDIT} --splits {FLIPPED}" in out
    shard = f"{demos}/shard-00001.parquet"
    for place, steps in ((demos, 2 * 20 * 6), (shard, 20 * 6)):
        out, _ = run(
            "finetune",
            base,
            *flags,
            "--demos",
            place,
            "--out",
            str(tmp_path / f"{steps}"),
            capsys=capsys,
        )
        read = json.loads((tmp_path / f"{steps}" / "config.json").read_text())
        assert (read["signal"], read["demos"], read["tasks"]) == ("demos", place, [])
        assert f"on {steps} environment steps" in out
    agent = agents.load(str(tmp_path / "120"), make_family(BANDIT), "id")
    assert agent.card.supervision == "reward, then histories"
    assert (
        "lora_icl_rl (120)"
        in run("evaluate", str(tmp_path / "120"), *flags[:2], "--trials", "20", capsys=capsys)[0]
    )
    flags = ["--family", BANDIT, "--splits", f"id,{FLIPPED}", "--trials", "40", "--json"]
    played, said = run("evaluate", str(tmp_path / "a"), *flags, capsys=capsys)
    assert {json.loads(line)["method"] for line in played.splitlines()} == {"lora_icl_rl (a)"}
    assert "tuned on" not in said
    assert (
        "keeps the contract"
        in run("check", str(tmp_path / "a"), "--family", BANDIT, capsys=capsys)[0]
    )
    histories = [
        "data",
        str(tmp_path / "a"),
        "--family",
        BANDIT,
        "--rows",
        "2",
        "--out",
        str(tmp_path / "d"),
    ]
    assert "1 shard of" in run(*histories, capsys=capsys)[0]


def test_tasks_that_were_tuned_on_are_not_scored(grid, tmp_path, capsys):
    """Of 21 goals the first 5 are tuned on, and 16 are left. The same goals where one slips, and where rewards are
    negated, are other tasks."""
    tune(grid, tmp_path / "tuned", split="shift/slip/4", family=GRID, tasks=5, steps=1)
    splits = "shift/slip/4,shift/slip/3,shift/reward_sign/4"
    flags = ["--family", GRID, "--trials", "42", "--splits", splits, "--json"]
    played, said = run("evaluate", str(tmp_path / "tuned"), *flags, capsys=capsys)
    assert said.count("tuned on") == 1
    assert (
        f"{tmp_path / 'tuned'} was tuned on 5 of the 21 tasks of shift/slip/4, which are left out"
        in said
    )
    left = {line["split"]: line["tasks_left_out"] for line in map(json.loads, played.splitlines())}
    assert left == {"shift/slip/4": 5, "shift/slip/3": 0, "shift/reward_sign/4": 0}
    flags += ["--out", str(tmp_path / "rows")]
    _, said = run("evaluate", str(tmp_path / "tuned"), *flags, code=2, capsys=capsys)
    assert "Tasks that" in said
    assert "Leave --out out" in said
    flags = ["--splits", splits, "--tracks", "O", "--out", str(tmp_path / "rows")]
    _, said = run("compare", "--methods", str(tmp_path / "tuned"), *flags, code=2, capsys=capsys)
    assert "was tuned on tasks that all methods would play here" in said
    plan = finetuned.on_new_tasks(
        str(tmp_path / "tuned"), make_family(GRID), Plan(split="shift/slip/4")
    )
    assert plan.left_out == (0, 1, 2, 3, 4)


def test_some_tasks_are_left_to_score(grid, tmp_path):
    with pytest.raises(
        UserError, match=r"--tasks 21 are all of the 21 tasks of shift/slip/4.* Tune on 10 or so"
    ):
        tune(grid, tmp_path / "tuned", split="shift/slip/4", family=GRID, tasks=21, steps=1)
    about = tune(grid, tmp_path / "train", split="train", family=GRID, tasks=30, steps=1)
    assert len(about["tasks"]) == 21


def test_where_all_tasks_were_tuned_on_they_are_scored_and_it_is_said(grid, tmp_path):
    tune(grid, tmp_path / "tuned", split="train", family=GRID, tasks=30, steps=1)
    place, family, plan = str(tmp_path / "tuned"), make_family(GRID), Plan(split="id", trials=42)
    assert finetuned.on_new_tasks(place, family, plan) == plan
    (said,) = finetuned.overlap_notices(place, family, [plan])
    assert said.startswith("42 of the 42 trials on id play tasks that")


def test_far_numbers_do_not_hide_a_task(grid, tmp_path):
    """Exchanged actions are drawn without end, but there are so many ways to, and 21 goals: some tasks come again."""
    split = "shift/action_permutation/2"
    about = tune(grid, tmp_path / "tuned", split=split, family=GRID, tasks=20, steps=1)
    family = make_family(GRID)
    assert min(about["tasks"]) >= 1 << 40
    (said,) = finetuned.overlap_notices(
        str(tmp_path / "tuned"), family, [Plan(split=split, trials=2_000)]
    )
    scored, tuned = (
        family.sample(split, numbers).params
        for numbers in (torch.arange(2_000), torch.tensor(about["tasks"]))
    )
    equal = [(scored[name][:, None] == tuned[name]).flatten(2).all(-1) for name in scored]
    count = int(torch.stack(equal).all(0).any(1).sum())
    assert count > 50
    assert said.startswith(f"{count} of the 2,000 trials on {split} play tasks that")


@pytest.mark.parametrize("how", ["reward", "demos"])
def test_who_forgets_with_every_episode_is_tuned_on_episodes_and_goes_on_forgetting(how, tmp_path):
    base = trained(SMALLEST.replace("icl_rl", "mt"), "gridnavi", tmp_path / "mt")
    shown = str(
        collect(
            "psrl",
            "gridnavi",
            split="train",
            shards=1,
            rows=4,
            episodes=0,
            seed=0,
            out=tmp_path / "d",
        )
    )
    told = {"split": "train"} if how == "reward" else {"split": "", "demos": shown}
    about = tune(base, tmp_path / "tuned", family="gridnavi", **told)
    assert about["env_steps"] == {"reward": 8 * 15, "demos": 4 * 60}[how]
    agent = finetuned.load_agent(str(tmp_path / "tuned"), make_family("gridnavi"))
    assert isinstance(agent, OneEpisode)
    assert (agent.card.method, agent.card.adapts) == ("lora_mt (tuned)", "nothing")


def test_demonstrations_on_a_shifted_split_tune_for_it_and_the_tasks_shown_are_told(
    grid, tmp_path, capsys
):
    split = "shift/slip/4"
    flags = ["--family", GRID, "--split", split, "--rows", "7", "--out", str(tmp_path / "d")]
    run("data", "psrl", *flags, capsys=capsys)
    (shown,) = (tmp_path / "d").iterdir()
    tune_flags = [
        "--family",
        GRID,
        "--demos",
        str(shown),
        "--steps",
        "1",
        "--out",
        str(tmp_path / "tuned"),
    ]
    out, _ = run("finetune", grid, *tune_flags, capsys=capsys)
    assert f"--splits {split}" in out
    about = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert (about["split"], about["signal"]) == (split, "demos")
    family, numbers = make_family(GRID), data.stored(shown, make_family(GRID)).tasks
    goals = family.sample(split, numbers).params["goal"].unique(dim=0)
    assert len(about["tasks"]) == len(goals) < 8
    _, said = run(
        "evaluate",
        str(tmp_path / "tuned"),
        "--family",
        GRID,
        "--splits",
        split,
        "--trials",
        "42",
        capsys=capsys,
    )
    assert f"was tuned on {len(goals)} of the 21 tasks of {split}, which are left out" in said


def content(folder: Path) -> dict[str, bytes]:
    """All that a folder holds, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def at_step(number: int, what, monkeypatch) -> None:
    """Do something at the beginning of one gradient step."""
    for signal_of in (llm_finetuning.Returns, llm_finetuning.Demonstrations):

        def loss(self, step: int, left: float, *, own=signal_of.loss):
            if step == number:
                what()
            return own(self, step, left)

        monkeypatch.setattr(signal_of, "loss", loss)


SEVEN = ["--family", BANDIT, "--steps", "7", "--batch", "120"]
FIVE = [*SEVEN, "--tasks", "5"]


@pytest.mark.parametrize(
    ("tuner", "how"),
    [("lora", "reward"), ("full", "demos"), ("prompt", "reward")],
)
def test_interrupted_it_goes_on_bitwise_as_if_it_had_never_stopped(
    tuner, how, base, demos, tmp_path, capsys, monkeypatch
):
    """Ctrl-C within a batch of reward, whose four gradient steps are on the same trials."""
    signal_flags = [*SEVEN, "--demos", demos] if how == "demos" else [*FIVE, "--split", FLIPPED]
    flags = [*signal_flags, "--tuner", tuner]
    run("finetune", base, *flags, "--out", str(tmp_path / "whole"), capsys=capsys)
    out, split = tmp_path / "out", ["--splits", "id", "--trials", "4"]
    with monkeypatch.context() as patched:
        at_step(4, lambda: signal.raise_signal(signal.SIGINT), patched)
        _, said = run("finetune", base, *flags, "--out", str(out), code=130, capsys=capsys)
    assert f"Stopped and saved. Go on with the same command and --resume: {out}" in said
    assert [path.name for path in (out / "checkpoints").iterdir()] == [f"{5:015d}.safetensors"]
    _, said = run("evaluate", str(out), "--family", BANDIT, *split, code=2, capsys=capsys)
    assert "is not finished. Go on with the same metabridge finetune command and --resume" in said
    _, said = run("finetune", base, *flags, "--out", str(out), code=2, capsys=capsys)
    assert "Add --resume to go on with it" in said
    run("finetune", base, *flags, "--out", str(out), "--resume", capsys=capsys)
    assert content(out) == content(tmp_path / "whole")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"}
    said, _ = run("finetune", base, *flags, "--out", str(out), "--resume", capsys=capsys)
    assert said.startswith("Tuned")
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("stage", ["steps", "writing"])
def test_killed_it_goes_on_from_its_last_checkpoint(stage, base, tmp_path, monkeypatch):
    """A checkpoint after every step; the process ends in the sixth, or while what was learned is written."""

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    tune(base, tmp_path / "whole", steps=7)
    with monkeypatch.context() as patched:
        if stage == "steps":
            at_step(5, kill, patched)
        else:
            patched.setattr(Finetuned, "save", kill)
        with pytest.raises(Killed):
            tune(base, tmp_path / "out", steps=7, checkpoint_every=0.0)
    done = 5 if stage == "steps" else 7
    assert max(path.stem for path in (tmp_path / "out" / "checkpoints").iterdir()) == f"{done:015d}"
    with (tmp_path / "out" / "train.jsonl").open("a") as log:
        log.write('{"grad_steps": 6, "env_s')
    tune(base, tmp_path / "out", steps=7, resume=True)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_two_at_once_a_place_that_is_none_and_one_that_is_read_only_are_told_before_the_first_step(
    base, tmp_path, monkeypatch
):
    at_step(0, lambda: pytest.fail("a step was taken"), monkeypatch)
    with (
        files.locked(tmp_path / "out"),
        pytest.raises(UserError, match="Another process is writing to"),
    ):
        tune(base, tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="Could not write"):
        tune(base, tmp_path / "file" / "out")
    write = files.write_text

    def refuse(path: Path, text: str) -> None:
        raise StorageError(f"Could not write {path}: Read-only file system")

    monkeypatch.setattr(files, "write_text", refuse)
    with pytest.raises(StorageError, match="Read-only file system"):
        tune(base, tmp_path / "new")
    monkeypatch.setattr(files, "write_text", write)
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="--checkpoint-every is a number of seconds, 0 or more"):
            runs.Run(
                method="rl2",
                family=BANDIT,
                seed=0,
                budget=runs.Budget(1.0),
                out=tmp_path,
                checkpoint_seconds=seconds,
            )
        with pytest.raises(UserError, match="--checkpoint-every is a number of seconds, 0 or more"):
            tune(base, tmp_path / "new", checkpoint_every=seconds)


def test_an_empty_folder_is_filled_and_no_other(base, tmp_path):
    (tmp_path / "empty").mkdir()
    tune(base, tmp_path / "empty", steps=1)
    with pytest.raises(UserError, match=r"holds this run already. Add --resume"):
        tune(base, tmp_path / "empty", steps=1)
    with pytest.raises(
        UserError, match=r"holds another run: its config.steps is 1, this one's is 2"
    ):
        tune(base, tmp_path / "empty", steps=2, resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty.*Choose another --out"):
        tune(base, tmp_path / "other", steps=1)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_a_base_and_demonstrations_are_known_however_they_are_spelt(
    base, demos, tmp_path, monkeypatch
):
    """By what they hold, not where: but one shard is not the other, which has as many histories."""
    collection, shard = Path(demos), "shard-00000.parquet"
    tune(base, tmp_path / "out", steps=1, demos=f"{demos}/{shard}", split="train")
    monkeypatch.chdir(base)
    tune(
        ".",
        tmp_path / "out",
        steps=1,
        demos=os.path.relpath(collection / shard),
        split="train",
        resume=True,
    )
    monkeypatch.chdir(Path(base).parent)
    tune(
        f"./{Path(base).name}/",
        tmp_path / "out",
        steps=1,
        demos=f"{demos}/{shard}",
        split="train",
        resume=True,
    )
    other = f"{demos}/shard-00001.parquet"
    with pytest.raises(UserError, match="holds another run: its shown is"):
        tune(base, tmp_path / "out", steps=1, demos=other, split="train", resume=True)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"base": 5}, "base should be an object, found 5"),
        ({"base": {"run": "t", "fingerprint": "f"}}, "missing card"),
        ({"base": {"run": "t", "fingerprint": "f", "card": []}}, "card should be an object"),
        ({"base": {"run": "t", "fingerprint": "f", "card": {}}}, "missing clue, decode_rule"),
        ({"reads": []}, r"reads should be a string, found \[\]"),
        ({"reads": "tea leaves"}, "it reads 'tea leaves', not trial or episode"),
        ({"tasks": "ab"}, "tasks should be a list, found 'ab'"),
        ({"tasks": ["a"]}, r"tasks should be numbers of tasks, found 'a'"),
        ({"tasks": [1 << 63]}, "tasks should be numbers of tasks"),
        ({"split": 3}, "split should be a string, found 3"),
        ({"method": 3}, "method should be a string"),
        ({"params_total": "3"}, "params_total should be a whole number"),
    ],
)
def test_a_config_that_was_edited_by_hand_is_refused(edit, said, base, edited, capsys):
    about = json.loads((edited / "config.json").read_text())
    (edited / "config.json").write_text(json.dumps(about | edit))
    flags = ["--family", BANDIT, "--splits", "id", "--trials", "4"]
    try:
        assert re.search(
            said, run("evaluate", str(edited), *flags, code=2, capsys=capsys)[1].replace("\n", " ")
        )
        out = ["--out", str(edited.parent / "out")]
        assert re.search(
            said, run("finetune", str(edited), *flags[:2], *out, code=2, capsys=capsys)[1]
        )
    finally:
        (edited / "config.json").write_text(json.dumps(about))


def test_a_card_with_a_key_too_many_or_of_another_type_is_told_or_passed_over(edited):
    about = json.loads((edited / "config.json").read_text())
    try:
        about["base"]["card"]["more"] = 1
        (edited / "config.json").write_text(json.dumps(about))
        finetuned.load_agent(str(edited), make_family(BANDIT))
        broken = about | {
            "base": about["base"] | {"card": about["base"]["card"] | {"supervision": 3}}
        }
        (edited / "config.json").write_text(json.dumps(broken))
        with pytest.raises(UserError, match="supervision should be a string, found 3"):
            finetuned.load_agent(str(edited), make_family(BANDIT))
    finally:
        del about["base"]["card"]["more"]
        (edited / "config.json").write_text(json.dumps(about))


@pytest.fixture(scope="module")
def edited(base, tmp_path_factory) -> Path:
    """A tuning to edit and to put back."""
    out = tmp_path_factory.mktemp("edited") / "tuned"
    tune(base, out, steps=0)
    return out


@pytest.mark.parametrize(
    "last", ["[1]", "null", '{"grad_steps": 3, "env_steps": "many"}', '{"grad_steps": 3}', "{"]
)
def test_a_damaged_log_does_not_keep_a_finished_tuning_from_saying_so(last, base, tmp_path_factory):
    """What was paid is that of the last whole line."""
    out = tmp_path_factory.getbasetemp() / "damaged_log"
    if not out.exists():
        tune(base, out, steps=2)
    log = out / "train.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + last.encode() + b"\n")
    assert tune(base, out, steps=2, resume=True)["env_steps"] == 120
    log.write_bytes(whole)


def test_what_cannot_be_tuned_is_refused(base, demos, tmp_path):
    rl2 = trained("rl2:hidden=8,steps_per_update=60,minibatches=2", BANDIT, tmp_path / "rl2")
    tune(base, tmp_path / "tuned", steps=0)
    collection, tiny = Path(demos), SMALLEST.partition(":")[2]
    mt = trained(f"mt:{tiny}", "gridnavi", tmp_path / "mt")
    adapted = trained(f"lora_maml:{tiny},tasks_per_update=2", "gridnavi", tmp_path / "lora_maml")
    asked = [
        ((rl2,), {}, "holds a run of rl2, which is no transformer.*metabridge train icl_rl"),
        ((str(tmp_path / "nowhere"),), {}, "no run folder"),
        (
            (str(tmp_path / "tuned"),),
            {},
            f"is tuned already. Tune the run that it came from: {base}",
        ),
        ((base,), {"family": "bandit:k=4,n=6"}, f"was trained on {BANDIT}, not on bandit:k=4,n=6"),
        ((base,), {"split": "shift/nothing/4"}, "Unknown axis"),
        ((base,), {"targets": "query"}, "no module 'query'.*There are: down_proj"),
        ((base,), {"rank": 99}, "rank=99 does not fit .* Choose one from 1 to 16"),
        (
            (base,),
            {"split": "shift/context_quality/4"},
            "shifts the context of track C, not tasks",
        ),
        ((mt,), {"tuner": "prompt", "family": "gridnavi"}, "forgets with every episode. Take lora"),
        ((adapted,), {"family": "gridnavi"}, "has adapters already.*Tune a run of mt"),
        (
            (base,),
            {"demos": demos},
            f"holds histories on train, not on {FLIPPED}. Leave --split or --demos out",
        ),
        ((base,), {"demos": str(tmp_path), "split": "train"}, "holds no collection of histories"),
        (
            (base,),
            {"demos": str(collection / "shard-00009.parquet"), "split": "train"},
            "no shard-00009.parquet",
        ),
    ]
    for given, settings, message in asked:
        with pytest.raises(UserError, match=f"(?s){message}"):
            tune(*given, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_demonstrations_of_another_family_are_refused(demos, tmp_path):
    other = trained(
        "icl_rl:hidden=8,layers=1,heads=2,steps_per_update=60", "bandit:k=3,n=5", tmp_path / "run"
    )
    with pytest.raises(UserError, match=f"holds histories on {BANDIT}"):
        tune(other, tmp_path / "out", demos=demos, split="train", family="bandit:k=3,n=5")


def test_a_folder_that_was_put_together_is_refused(base, tmp_path):
    tune(base, tmp_path / "tuned")
    family, place = make_family(BANDIT), tmp_path / "tuned"
    with pytest.raises(UserError, match="Give --family"):
        finetuned.load_agent(str(place), make_family("bandit:k=4,n=6"))
    policy = TransformerPolicy.from_pretrained(place / "base")
    with torch.no_grad():
        policy.actor.bias.add_(1)
    policy.save_pretrained(place / "base")
    with pytest.raises(
        UserError, match=r"was tuned from metabridge_policy .* and the policy in its base/ is"
    ):
        finetuned.load_agent(str(place), family)
    about = json.loads((place / "config.json").read_text())
    about["base"]["fingerprint"] = fingerprint(policy)
    files.write_text(place / "config.json", json.dumps(about))
    with pytest.raises(UserError, match="holds an adapter of the policy"):
        finetuned.load_agent(str(place), family)
    del about["split"]
    files.write_text(place / "config.json", json.dumps(about))
    with pytest.raises(UserError, match=r"missing split\. Put a copy of it back"):
        finetuned.load_agent(str(place), family)


def test_numbers_that_are_none_stop_it_and_leave_nothing_to_play(base, tmp_path):
    own = tmp_path / "base"
    shutil.copytree(base, own)
    change(str(own), "embed.bias", lambda bias: bias.fill_(torch.nan))
    demos = finetuned.data.Collection(
        make_family(BANDIT), ("random",), rows=4, folder=tmp_path / "d"
    )
    demos.shard(0)
    with pytest.raises(
        DivergenceError,
        match=r"no longer a number. There was no checkpoint yet; train again with a",
    ):
        tune(str(own), tmp_path / "out", demos=str(demos.folder), split="train")
    with pytest.raises(UserError, match="is not finished"):
        finetuned.load_agent(str(tmp_path / "out"), make_family(BANDIT))


def test_what_is_written_are_the_settings(base, tmp_path):
    about = tune(base, tmp_path / "tuned", lr=0.0, tuner="ia3", steps=0)
    assert about["config"] == dataclasses.asdict(
        Config(**(SMALL | {"tuner": "ia3", "steps": 0, "lr": 0.03}))
    )


def test_a_flipped_bit_in_what_was_tuned_is_found(base, tmp_path):
    tune(base, tmp_path / "tuned", steps=0)
    weights = tmp_path / "tuned" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 64]))
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is damaged, or was changed"):
        finetuned.load_agent(str(tmp_path / "tuned"), make_family(BANDIT))
    weights.write_bytes(whole)
    finetuned.load_agent(str(tmp_path / "tuned"), make_family(BANDIT))
