"""What has no effect is refused or said: flags by track and mode, parameters that nobody reads, what is left out."""

import json
import os

import pytest

from bridge.errors import UserError
from experiments import runs, search
from tests.experiments.commands import run

BANDIT, GRID = ["--family", "bandit:k=2,n=3"], ["--family", "gridnavi:episodes=2"]
FEW = ["--trials", "42"]
COMPARE = [
    "compare",
    "--families",
    "bandit:k=2,n=3",
    "--splits",
    "id",
    "--trials",
    "6",
    "--out",
    "out",
]
TINY = "rl2:hidden=4,steps_per_update=60,minibatches=2,epochs=1"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


SHOWN = "--behaviour is for track C"
FLAGS = [
    (["--shots", "2"], {"O": "--shots is for tracks C and F", "C": None, "F": None}, BANDIT),
    (["--behaviour", "oracle"], {"O": SHOWN, "C": None, "F": SHOWN}, BANDIT),
    (["--behaviour", "random"], {"O": SHOWN, "C": None, "F": SHOWN}, BANDIT),
    (["--trials-per-task", "2"], {"O": None, "C": None, "F": None}, BANDIT),
    (
        ["--trials-per-task", "2"],
        dict.fromkeys("OCF", "--trials-per-task has no effect on id"),
        GRID,
    ),
    (
        ["--decode", "argmax"],
        {"O": "for trained runs", "C": "Leave --decode out", "F": "for trained runs"},
        BANDIT,
    ),
    (["--eval-seed", "3"], {"O": None, "C": None, "F": None}, BANDIT),
]


@pytest.mark.parametrize(("flag", "by_track", "family"), FLAGS)
@pytest.mark.parametrize("track", ["O", "C", "F"])
def test_a_flag_is_read_or_refused(flag, by_track, family, track, capsys):
    line = ["evaluate", "random", *family, *FEW, "--track", track, *flag]
    message = by_track[track]
    _, err = run(*line, code=2 if message else 0, capsys=capsys)
    assert (message or "") in err


def test_what_has_no_effect_on_some_splits_is_said(capsys):
    _, err = run(
        "evaluate",
        "random",
        *GRID,
        *FEW,
        "--trials-per-task",
        "2",
        "--splits",
        "id,shift/action_permutation/1",
        capsys=capsys,
    )
    assert "--trials-per-task has no effect on id:" in err
    line = [
        "evaluate",
        "random",
        *BANDIT,
        *FEW,
        "--track",
        "C",
        "--behaviour",
        "oracle",
        "--splits",
    ]
    assert (
        "--behaviour has no effect on"
        in run(*line, "shift/context_quality/1", code=2, capsys=capsys)[1]
    )
    assert (
        "no effect on shift/context_quality/1:"
        in run(*line, "id,shift/context_quality/1", capsys=capsys)[1]
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            [*COMPARE, "--methods", "random", "--budget", "nan"],
            "Only methods that are trained first read --budget, and here is none of these, but random",
        ),
        (
            [*COMPARE, "--methods", f"random,{TINY}", "--budget", "nan"],
            "A budget is a number above 0",
        ),
        (
            [*COMPARE, "--methods", f"random,{TINY}", "--budget", "inf"],
            "A budget is a number above 0",
        ),
        (
            [*COMPARE, "--methods", f"random,{TINY}", "--budget", "1e400"],
            "A budget is a number above 0",
        ),
        (
            [*COMPARE, "--methods", f"random,{TINY}", "--budget", "0"],
            "A budget is a number above 0",
        ),
        (
            [*COMPARE, "--methods", "random", "--seeds", "1"],
            "Only methods that are trained first read --seeds, and here is none of these, but random",
        ),
        (
            [*COMPARE, "--methods", "random", "--tuning", "2"],
            "Only methods that are trained first read --tuning, and here is none of these, but random",
        ),
        (
            [*COMPARE, "--methods", f"random,{TINY}", "--seeds", "-7"],
            "--seeds must be 0 or more; found -7",
        ),
        ([*COMPARE, "--methods", f"random,{TINY}", "--seeds", "1,x"], "found 'x'"),
        ([*COMPARE, "--methods", "random", "--fresh"], "--fresh trains runs of the zoo again"),
        ([*COMPARE, "--methods", TINY, "--seeds", "1000", "--tuning", "2"], "Training seed 1000"),
        ([*COMPARE, "--methods", "random,psrl"], "psrl plays none of bandit:k=2,n=3"),
        (
            ["train", TINY, "--budget", "60", "--size", "quick", "--out", "run"],
            "--budget and --size both",
        ),
        (
            ["tune", TINY, "--budget", "60", "--size", "quick", "--out", "run"],
            "--budget and --size both",
        ),
        (
            ["finetune", "run", "--demos", "x", "--tasks", "3", "--out", "tuned"],
            "--tasks is for play",
        ),
        (["list", "experiments", "--family", "gridnavi"], "Leave it out"),
        (
            ["check", "gridnavi:episodes=1", "--family", "gridnavi"],
            "gridnavi:episodes=1 is a family",
        ),
        (["train", TINY, "--seed", "-7", "--out", "run"], "--seed must be 0 or more; found -7"),
    ],
)
def test_flags_of_commands_are_read_or_refused(line, message, capsys):
    assert message in run(*line, code=2, capsys=capsys)[1]


def test_methods_and_splits_that_a_family_does_not_have_are_said(capsys):
    line = [
        "compare",
        "--families",
        "bandit:k=2,n=3,gridnavi:episodes=2",
        "--trials",
        "42",
        "--out",
        "out",
    ]
    _, err = run(
        *line,
        "--methods",
        "random,ucb1,psrl",
        "--splits",
        "id,bandit:shift/gap/1,shift/prior/1",
        capsys=capsys,
    )
    reason = "left out, as methods not made for it, or not trained on it"
    assert f"bandit:k=2,n=3: {reason}: psrl\n" in err
    assert f"gridnavi:episodes=2: {reason}: ucb1\n" in err
    assert "gridnavi:episodes=2: left out, as splits that it does not have: shift/prior/1\n" in err


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "maml:max_kl=0.1",
            "max_kl in 'maml:max_kl=0.1' is read only with outer=trpo; here outer=ppo",
        ),
        ("maml:outer=trpo,clip=0.1", "clip in"),
        ("maml:outer=reptile,estimator=dice", "estimator in"),
        ("mtrl:shared=nothing,hidden_ids=0.2", "hidden_ids in"),
        ("icl_rl:backbone=some/folder,hidden=8", "hidden in"),
        ("lora_demos_icl_rl:inner_every=3", "inner_every: for rewards"),
    ],
)
def test_a_parameter_of_a_spec_is_read_or_refused(spec, message):
    with pytest.raises(UserError, match=r"(?s).*") as refused:
        runs.settings(spec)
    assert message in str(refused.value)


def test_a_search_draws_only_what_is_read():
    assert not any(
        "epochs" in spec or "lr=" in spec.replace("inner_lr", "")
        for spec in search.candidates("maml:outer=trpo", 6, 0)
    )


def test_gradient_steps_that_no_trial_has_room_for(capsys):
    family = ["--family", "gridnavi:episodes=3"]
    run("train", TINY, *family, "--budget", "60", "--out", "run", capsys=capsys)
    line = ["evaluate", "full_reward:run=run,inner_steps=1,inner_every={}", *family, *FEW]
    for every, code in ((2, 0), (3, 2), (100, 2)):
        _, err = run(*[word.format(every) for word in line], code=code, capsys=capsys)
        assert ("takes no gradient step on id: it takes one every" in err) == bool(code)
    _, err = run(
        *[word.format(2) for word in line], "--splits", "id,shift/context_length/1", capsys=capsys
    )
    assert "takes no gradient step on shift/context_length/1" in err
    run(
        *[word.format(3) for word in line], "--track", "F", capsys=capsys
    )  # before scoring one is always taken


def test_the_name_of_a_method_wins_over_a_folder(capsys):
    run("train", TINY, *BANDIT, "--budget", "60", "--out", "random", capsys=capsys)
    for method, name in (("random", "random"), (f".{os.sep}random", "rl2 (random)")):
        out, _ = run("evaluate", method, *BANDIT, *FEW, "--json", capsys=capsys)
        assert {json.loads(line)["method"] for line in out.splitlines()} == {name}


def test_a_folder_with_markup_in_its_name_is_printed_as_it_is(capsys):
    run("train", TINY, *BANDIT, "--budget", "60", "--out", "x [y[", capsys=capsys)
    out, _ = run("evaluate", "./x [y[", *BANDIT, *FEW, capsys=capsys)
    assert "rl2 (x [y[) on bandit:k=2,n=3" in out
