"""Random command lines: whatever is typed ends in time, and never in a traceback or a fault of ours.

A case is a command that is right and small, of which one to three words are then put wrong: numbers at the edges of
what types hold, specs with broken syntax or keys of others, text that is empty, long, no ASCII or markup, folders that
are missing, families and methods that do not go together. Case i is the same on every day and machine.
"""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from experiments import cli, registry

CASES, BATCH = 500, 25
LIMIT_S = 120
"""Of one case, on a machine that does other things."""

NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "-0",
    "0.5",
    "-0.5",
    "1e3",
    "1e-3",
    "1e38",
    "1e39",
    "1e99",
    "-1e99",
    "1e-99",
    "1e400",
    "1e-400",
    "nan",
    "inf",
    "-inf",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1000000000000000000000",
    "0x10",
    "1_0",
    "٣",
    "½",
    "",
    " ",
    "1,0",
    "--1",
    "1e",
    "true",
    "None",
)
SMALL = ("0", "1", "2", "3", "7", "0.5", "0.1", "1.0", "-1")
"""Numbers that often make sense."""
BUDGETS = (
    "0",
    "-1",
    "0.5",
    "1",
    "1e3",
    "1e19",
    "1e400",
    "nan",
    "inf",
    "60q",
    "0s",
    "1e-9s",
    "1flops",
    "½",
    "0x10",
)
"""No large ones: to train for long is right where it was asked for."""
TEXTS = (
    "",
    " ",
    ".",
    "..",
    "/",
    "-",
    "--",
    ":",
    "=",
    ",",
    "+",
    "::",
    "a:b",
    "a=b",
    "a:b=",
    "a:=b",
    "a:b=c,b=d",
    "[/x]",
    "[bold]x",
    "x [y[/x]",
    ":smile:",
    "=1+1",
    "ü",
    "路径",
    "💥",
    "\udc80",
    "%s",
    "{0}",
    "a" * 300,
    "no/where",
    "/dev/null",
    "file",
    "empty",
    "random",
    "./random",
    "results",
    "runs/rl2",
    "runs/icl",
    "runs",
    "~",
    "*",
    "\n",
    "a\tb",
    "'",
    '"',
)
BANDITS = (
    "bandit:k=2,n=3",
    "bandit:k=3,n=4,arms=gaussian",
    "bandit:k=2,n=4,arms=dependent_easy",
    "bandit:k=3,n=4,arms=one_best_hard",
    "bandit:k=2,n=3,tasks=4",
)
GRIDS = ("gridnavi:episodes=2", "gridnavi:train=inner,episodes=2", "darkroom:variant=ad,episodes=1")
OTHERS = ("tabular_mdp:n=2", "point_nav:episodes=2", "sparse_point:episodes=2")
FAMILIES = (*BANDITS, *GRIDS, *OTHERS)
HOME = ("bandit:k=2,n=4",)
"""What the two runs were trained on."""
FOR_BANDITS = (
    "random",
    "oracle",
    "ucb1:c=0.1",
    "thompson",
    "greedy",
    "bayes",
    "gittins",
    "graded:noise=0.3",
)
FOR_GRIDS = ("random", "oracle", "psrl", "thompson", "search", "q_learning:rate=0.5,epsilon=0.5")
TINY = (
    "rl2:hidden=4,steps_per_update=60,minibatches=2,epochs=1",
    "maml:hidden=4,tasks_per_update=2,epochs=1",
    "pearl:hidden=4,encoder_hidden=4,latent=2,train_tasks=4,collect_tasks=2,meta_batch=2,batch=2,capacity=50,episodes=1",
    "mtrl:hidden=4,tasks_per_update=2,episodes_per_task=1,epochs=1",
    "mtrl_sac:hidden=4,tasks_per_update=2,episodes_per_task=1,meta_batch=2,batch=2,capacity=50,train_tasks=4",
    "icl_rl:hidden=8,layers=1,heads=2,window=8,steps_per_update=60,minibatches=2,epochs=1",
    "icl_dpt:hidden=8,layers=1,heads=2,window=8,steps_per_update=60,batch=32",
    "lora_reward_icl_rl:hidden=8,layers=1,heads=2,window=8,steps_per_update=60,minibatches=2,epochs=1,inner_steps=1",
)
RUNS = ("runs/rl2", "runs/icl")
TEST_TIME_METHODS = (
    "lora_reward:run=runs/icl,inner_steps=1",
    "full_reward:run=runs/rl2,inner_steps=1,inner_lr=0.01",
)
SPLITS = (
    "id",
    "train",
    "id_val",
    "shift/reward_scale/4",
    "shift/horizon/2",
    "shift/*/1",
    "id,shift/reward_sign/4",
)

Line = dict[str, tuple[str, ...]]
COMMANDS: tuple[tuple[str, Line], ...] = (
    ("list", {"": ("families", "methods", "splits", "axes"), "--family": FAMILIES}),
    ("describe", {"": ("ucb1", "icl_rl", "bandit:k=2", "slip", "gridnavi/slip", "quick")}),
    ("show", {"": RUNS}),
    (
        "evaluate",
        {
            "": FOR_BANDITS,
            "--family": BANDITS,
            "--splits": SPLITS,
            "--trials": ("4", "9"),
            "--track": ("O",),
            "--trials-per-task": ("0", "2"),
            "--eval-seed": ("0", "7"),
        },
    ),
    (
        "evaluate",
        {
            "": FOR_GRIDS,
            "--family": GRIDS[:2],
            "--splits": SPLITS,
            "--trials": ("42",),
            "--eval-seed": ("3",),
        },
    ),
    (
        "evaluate",
        {"": ("random", "oracle"), "--family": OTHERS, "--splits": SPLITS, "--trials": ("40",)},
    ),
    (
        "evaluate",
        {
            "": FOR_BANDITS,
            "--family": BANDITS,
            "--splits": ("id", "shift/context_quality/2"),
            "--trials": ("4",),
            "--track": ("C",),
            "--shots": ("1", "2"),
            "--behaviour": ("random", "graded:noise=0.5"),
        },
    ),
    (
        "evaluate",
        {
            "": FOR_GRIDS,
            "--family": GRIDS[:2],
            "--splits": SPLITS,
            "--trials": ("42",),
            "--track": ("F",),
            "--shots": ("0", "1"),
        },
    ),
    (
        "evaluate",
        {
            "": RUNS,
            "--family": HOME,
            "--splits": SPLITS,
            "--trials": ("4",),
            "--track": ("O", "F"),
            "--decode": ("sample", "argmax", "0.5"),
        },
    ),
    (
        "evaluate",
        {
            "": TEST_TIME_METHODS,
            "--family": HOME,
            "--splits": ("id",),
            "--trials": ("4",),
            "--track": ("O", "F"),
        },
    ),
    (
        "train",
        {
            "": TINY,
            "--family": FAMILIES,
            "--budget": ("60", "1e2", "0.01s", "1e3flops"),
            "--seed": ("0", "3"),
            "--out": ("new/run-{}",),
            "--precision": ("no", "bf16"),
        },
    ),
    (
        "train",
        {
            "": TINY[:1],
            "--family": HOME,
            "--budget": ("60",),
            "--out": ("runs/rl2", "empty"),
            "--resume": ("",),
        },
    ),
    (
        "finetune",
        {
            "": ("runs/icl",),
            "--family": HOME,
            "--split": ("", "id", "shift/reward_sign/4"),
            "--tuner": ("lora",),
            "--rank": ("1", "2"),
            "--alpha": ("1",),
            "--tasks": ("2",),
            "--steps": ("1",),
            "--lr": ("0", "0.01"),
            "--batch": ("16",),
            "--seed": ("0",),
            "--out": ("new/tuned-{}",),
            "--targets": ("q_proj", "q_proj+v_proj"),
        },
    ),
    (
        "finetune",
        {
            "": ("runs/icl",),
            "--family": HOME,
            "--tuner": ("full", "head", "ia3", "prompt"),
            "--tasks": ("2",),
            "--steps": ("1", "0"),
            "--batch": ("16",),
            "--out": ("new/tuned-{}",),
        },
    ),
    (
        "data",
        {
            "": ("random", "q_learning+random", "psrl"),
            "--family": GRIDS,
            "--split": ("train", "id", "shift/slip/2"),
            "--shards": ("1", "2"),
            "--rows": ("1", "3"),
            "--episodes": ("0", "1"),
            "--seed": ("0",),
            "--out": ("new/data-{}",),
        },
    ),
    (
        "tune",
        {
            "": TINY[:2],
            "--family": FAMILIES,
            "--configs": ("1", "2"),
            "--seed": ("0",),
            "--budget": ("60",),
            "--out": ("new/search-{}",),
        },
    ),
    (
        "compare",
        {
            "--families": BANDITS,
            "--methods": ("random", "random,ucb1:c=0.3", "oracle,bayes"),
            "--splits": SPLITS,
            "--trials": ("6",),
            "--out": ("new/results-{}", "results"),
        },
    ),
    (
        "compare",
        {
            "--families": FAMILIES,
            "--methods": (f"random,{TINY[0]}",),
            "--splits": SPLITS,
            "--trials": ("42",),
            "--budget": ("60",),
            "--seeds": ("0", "1"),
            "--tuning": ("1", "2"),
            "--out": ("new/results-{}",),
        },
    ),
    ("report", {"": ("results", "empty", "no/where", "file")}),
    ("check", {"": ("random", "no_such.py:Thing", "runs/nowhere"), "--family": BANDITS[:1]}),
)
"""Kinds of lines: words that go together, of which each flag has one. Of a word ``{}`` becomes the case's number."""
KEYS = (
    "hidden",
    "lr",
    "c",
    "n",
    "k",
    "tasks",
    "episodes",
    "inner_every",
    "window",
    "epochs",
    "gamma",
    "nonsense",
    "",
)
OPTIONAL = {
    "--eval-seed",
    "--trials-per-task",
    "--seed",
    "--precision",
    "--shots",
    "--decode",
    "--lr",
    "--alpha",
    "--rank",
    "--targets",
    "--split",
    "--episodes",
    "--tuning",
    "--seeds",
    "--behaviour",
}
"""Flags without which a command is as small."""


class TooLong(BaseException):
    """The time is up."""


def case(number: int) -> list[str]:
    """The command line of this number."""
    rng = np.random.default_rng((2026, number))
    name, kinds = pick(COMMANDS, rng)
    words = {
        flag: pick(values, rng).format(number)
        for flag, values in kinds.items()
        if flag not in OPTIONAL or rng.random() < 0.5
    }
    for _ in range(pick((1, 1, 2), rng)):
        flag = pick(tuple(words), rng)
        words[flag] = pick(BUDGETS, rng) if flag == "--budget" else mutated(words[flag], rng)
    line = [name, *([words.pop("")] if "" in words else [])]
    for flag, word in words.items():
        line += [flag] if flag == "--resume" else [flag, word]
    if rng.random() < 0.1:
        line.append(
            pick(("--json", "--resume", "--no-such-flag", "extra", "--size", "--help", ""), rng)
        )
    return line


def pick(choices: tuple, rng: np.random.Generator):
    """One of them."""
    return choices[int(rng.integers(len(choices)))]


def mutated(word: str, rng: np.random.Generator) -> str:
    """A word put wrong."""
    numbers = tuple(re.finditer(r"(?<![A-Za-z_\d])[0-9][0-9.e]*", word))
    kind = rng.random()
    if numbers and kind < 0.6:
        found = pick(numbers, rng)
        return (
            word[: found.start()]
            + pick(pick((NUMBERS, SMALL, SMALL), rng), rng)
            + word[found.end() :]
        )
    if ":" in word and kind < 0.75:
        return f"{word},{pick(KEYS, rng)}={pick(pick((NUMBERS, SMALL, SMALL), rng), rng)}"
    if kind < 0.85:
        return pick(
            (
                *registry.LEARNERS,
                *registry.TEST_TIME_METHODS,
                *FOR_BANDITS,
                *FOR_GRIDS,
                *FAMILIES,
                *SPLITS,
            ),
            rng,
        )
    return pick(TEXTS, rng)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with two tiny runs, results, an empty folder, a file, and a folder called random."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "empty").mkdir()
    (folder / "random").mkdir()
    (folder / "random" / "config.json").write_text("{}")
    (folder / "file").write_text("no folder")
    family = ["--family", *HOME, "--budget", "60"]
    small = ["--methods", "random,ucb1", "--splits", "id", "--trials", "6", "--out", "results"]
    with contextlib.chdir(folder):
        for name, spec in (("rl2", TINY[0]), ("icl", TINY[5])):
            assert ended("train", spec, *family, "--out", f"runs/{name}")[0] == 0
        assert ended("compare", "--families", "bandit:k=2,n=3", *small)[0] == 0
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A copy of it to work in: a case may write over what it finds."""
    folder = shutil.copytree(made, tmp_path / "fuzz")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("METABRIDGE_CACHE", str(folder / "cache"))
    return folder


def ended(*line: str) -> tuple[object, str]:
    """How a command in this process ended, and all that it printed."""

    def late(_number, _frame):
        raise TooLong

    said = io.StringIO()
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_S)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            cli.main(list(line))
    except SystemExit as stop:
        return stop.code or 0, said.getvalue()
    except TooLong:
        return "no end", said.getvalue()
    except BaseException as error:
        return f"raised {type(error).__name__}: {error}", said.getvalue()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return "no exit code", said.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, CASES, BATCH))
@pytest.mark.usefixtures("place", "rendered")
def test_whatever_is_typed_ends_well_or_with_one_clear_line(first):
    wrong = []
    for number in range(first, first + BATCH):
        line = case(number)
        code, said = ended(*line)
        if code not in (0, 1, 2) or "fault of ours" in said or "Traceback" in said:
            wrong.append(f"{number}: {line}\n  ended with {code}: {said[-600:]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(0, CASES, CASES // 5))
def test_some_of_them_as_processes(number, place):
    line = case(number)
    here = os.pathsep.join(path or str(place) for path in sys.path)
    ran = subprocess.run(
        [sys.executable, "-m", "experiments.cli", *line],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
        cwd=place,
        env=os.environ | {"PYTHONPATH": here},
    )
    said = (ran.stdout + ran.stderr).decode(errors="replace")
    assert ran.returncode in (0, 1, 2), said
    assert "fault of ours" not in said
    assert "Traceback" not in said
