"""A user's own agents and families in a file, wherever names of ours stand: made, played, trained on, refused."""

import json
import os
from pathlib import Path

import pytest

from bridge.errors import UserError
from bridge.evaluation import results
from bridge.tasks import family as make_family
from experiments import agents, pool
from tests.experiments.commands import run

OWN = """
from dataclasses import dataclass

from bridge.protocol import Card, Decision
from bridge.tasks.bandit import Bandit


class Mine:
    card = Card(method="random")

    def __init__(self, *given, **more):
        self.given = (*given, *more.values())

    def start(self, clues, trial, rng):
        return rng.at("start").uniform()

    def begin(self, memory, rng, *, episode):
        return memory

    def act(self, memory, obs, rng, *, explore):
        return Decision(rng.integers(2))

    def observe(self, memory, step, carry=None):
        return memory

    def adapt(self, memory, rng, *, episode, last):
        return memory


class Told(Mine):
    def __init__(self, family, c=0.5, greedy=False, *, name="x"):
        super().__init__(family.id, c, greedy, name)


class Both(Mine):
    def __init__(self, family, split="train"):
        super().__init__(family.id, split)


class Alone(Mine):
    def __init__(self, c=1):
        super().__init__(c)


def make(family, split):
    return Mine(family.id, split)


def alone():
    return Mine("made")


def three(a, b, c):
    pass


def fails(family):
    return {}[family]


class Half:
    card = "mine"


class Cardless(Mine):
    card = "mine"


class Breaks(Mine):
    def observe(self, memory, step, carry=None):
        return {}[len(memory)]


@dataclass(frozen=True)
class TwoArms(Bandit):
    name = "two_arms"
    k: int = 2
    n: int = 4


class Stuck(TwoArms):
    name = "stuck"

    def step(self, tasks, state, action, noise):
        raise ValueError("no step")


made = Mine("here")
"""
BANDIT = "bandit:k=3,n=4"


def line_of(text):
    """File and line of what fails in ``OWN``."""
    return f"own.py, line {OWN[: OWN.index(text)].count(chr(10)) + 1}"


IN_AGENT, IN_FAMILY = line_of("return {}[len(memory)]"), line_of("raise ValueError")


@pytest.fixture
def own(write):
    return write("own.py", OWN)


@pytest.mark.parametrize(
    ("spec", "given"),
    [
        ("own.py:Mine", ()),
        ("own.py:Told", (BANDIT, 0.5, False, "x")),
        ("own.py:Told:c=2,greedy=true,name=y", (BANDIT, 2.0, True, "y")),
        ("own.py:Both", (BANDIT, "id")),
        ("own.py:Alone:c=3", (3,)),
        ("own.py:make", (BANDIT, "id")),
        ("own.py:alone", ("made",)),
        ("own.py:made", ("here",)),
        ("own:made", ("here",)),
    ],
)
def test_an_agent_of_ones_own_is_made_as_its_signature_asks(own, spec, given):
    agent = agents.load(spec, make_family(BANDIT), "id")
    assert agent.given == given
    assert agent.card.method == spec  # never the name of a reference


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "own.py:three",
            r"own.py:three cannot be made: TypeError: it takes \(a, b, c\); expected \(fam",
        ),
        ("own.py:fails", f"own.py:fails cannot be made: {line_of('return {}[family]')}: KeyError"),
        ("own.py:Half", "neither a TaskFamily nor an agent, .* it has no start, begin, act, obs"),
        ("own.py:Cardless", "The card of own.py:Cardless is 'mine'. Give it one, of bridge.pro"),
        ("own.py:Told:d=2", "Unknown key in 'own.py:Told:d=2': 'd'. .*Known: c, greedy, name"),
        ("own.py:Told:c=x", "c in 'own.py:Told:c=x' must be a number, found 'x'"),
        ("own.py:Tld", "Unknown name in own.py: 'Tld'. Did you mean 'Told'"),
        ("own.py:TwoArms", "own.py:TwoArms is a family, and an agent is asked for. Give --family"),
    ],
)
def test_what_is_no_agent_is_refused_with_a_remedy(own, spec, said):
    with pytest.raises(UserError, match=said):
        agents.load(spec, make_family(BANDIT), "id")


FAMILY, RL2 = "own.py:TwoArms", "rl2:hidden=8,steps_per_update=400,minibatches=1,epochs=1"
FEW = ["--trials", "40"]


def test_an_agent_and_a_family_of_ones_own_are_evaluated(own, capsys):
    flags = ["--family", f"{FAMILY}:k=3", *FEW, "--json"]
    out, _ = run("evaluate", "own.py:Mine", *flags, capsys=capsys)
    lines = [json.loads(line) for line in out.splitlines()]
    assert {(line["method"], line["family"]) for line in lines} == {
        ("own.py:Mine", "own.py:TwoArms:k=3,n=4")
    }
    assert {"score_oracle", "minus_bayes"} <= {line["metric"] for line in lines}
    shown = ["--track", "C", "--behaviour", "own.py:Mine", "--shots", "2"]
    assert "episode_return" in run("evaluate", "thompson", *flags, *shown, capsys=capsys)[0]


def test_both_are_checked_listed_and_made_into_data(own, capsys):
    assert "keeps the contract" in run("check", FAMILY, capsys=capsys)[0]
    assert "keeps the contract" in run("check", "own.py:Mine", "--family", FAMILY, capsys=capsys)[0]
    assert "shift/prior/4" in run("list", "splits", "--family", FAMILY, capsys=capsys)[0]
    made = ["data", "own.py:Mine+random", "--family", FAMILY, "--rows", "4", "--out", "data"]
    run(*made, capsys=capsys)
    own.write_text(OWN.replace("rng.integers(2)", "1 - rng.integers(2)"))
    run(*made, capsys=capsys)
    assert len(os.listdir("data")) == 2  # an agent that was changed is another source


def test_an_error_that_stops_many_rules_is_told_once(own, capsys):
    printed, _ = run("check", "own.py:Breaks", "--family", FAMILY, code=1, capsys=capsys)
    assert printed.count(IN_AGENT) == 1
    again = [line for line in printed.splitlines() if line.endswith(": the same error.")]
    assert len(again) > 5
    assert f"own.py:Breaks on {make_family(FAMILY).id}: {len(again) + 1} rules broken" in printed


def test_an_agent_of_ones_own_is_described_with_its_parameters(own, capsys):
    """Also if nothing is said of them."""
    printed, _ = run("describe", "own.py:Told", capsys=capsys)
    for parameter in ("c=0.5", "greedy=false", "name=x"):
        assert f"\n{parameter}" in printed
    _, error = run("describe", "own.py:Half", capsys=capsys, code=2)
    assert "own.py:Half is neither a TaskFamily nor an agent" in error


def test_methods_are_trained_on_a_family_of_ones_own(own, write, capsys, monkeypatch):
    """The run's own family is found by its file; from another folder, where the file is named anew."""
    run("train", RL2, "--family", FAMILY, "--budget", "2000", "--out", "run", capsys=capsys)
    assert "rl2 (run) on own.py:TwoArms:k=2,n=4" in run("evaluate", "run", *FEW, capsys=capsys)[0]
    write("elsewhere/other.py", OWN)
    monkeypatch.chdir("elsewhere")
    _, err = run("evaluate", "../run", *FEW, code=2, capsys=capsys)
    assert "There is no file own.py in " in err
    assert "run the command in the folder in which they were made" in err
    for place in ("../own.py", "other.py"):
        run("evaluate", "../run", "--family", f"{place}:TwoArms", *FEW, capsys=capsys)
        flags = ["--families", f"{place}:TwoArms", "--splits", "id", "--out", "out"]
        out, err = run("compare", "--methods", "random,../run", *flags, *FEW, capsys=capsys)
        assert "../run" in out
        assert "left out" not in err
    _, err = run("evaluate", "../run", "--family", "other.py:TwoArms:k=3", code=2, capsys=capsys)
    assert "was trained on own.py:TwoArms:k=2,n=4, not on other.py:TwoArms:k=3,n=4" in err


def test_a_search_is_on_a_family_of_ones_own(own, capsys):
    """``train`` takes the family from the tuning folder."""
    tune = ["tune", RL2, "--configs", "1", "--budget", "400", "--out", "tuned"]
    run(*tune, "--family", FAMILY, capsys=capsys)
    said, _ = run("train", "tuned", "--budget", "400", "--out", "run", capsys=capsys)
    assert "--family own.py:TwoArms:k=2,n=4" in said


@pytest.mark.slow
def test_a_comparison_goes_on_in_two_processes_and_names_the_line_that_fails(
    own, capsys, monkeypatch
):
    monkeypatch.setattr(pool, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(pool.os, "cpu_count", lambda: 2)
    methods = "random,own.py:Mine,own.py:Breaks"
    flags = ["--families", FAMILY, "--splits", "id", *FEW, "--out", "out"]
    out, err = run("compare", "--methods", methods, *flags, code=1, capsys=capsys)
    assert "own.py:Mine" in out
    assert err.count("own.py, line") == 1
    assert f"failed: own.py:Breaks on own.py:TwoArms:k=2,n=4: {IN_AGENT}: KeyError: " in err


def test_rows_are_played_again_after_an_edit_of_the_agent_or_the_family(own, write, capsys):
    write("family.py", OWN)
    line = ["evaluate", "own.py:Mine", "--family", "family.py:TwoArms", *FEW, "--out", "out"]
    played, before = {}, {}
    for edited in ("", "own.py", "family.py"):
        if edited:
            os.utime(edited, (4e9, 4e9))
        run(*line, capsys=capsys)
        now = {path.name: path.stat().st_mtime_ns for path in results.files(Path("out"))}
        played[edited] = len(now.items() - before.items())
        before = now
        if edited:
            os.utime(edited, (1e9, 1e9))
    assert played == {"": 4, "own.py": 1, "family.py": 4}
    Path("family.py").unlink()
    assert "There is no file family.py in " in run("report", "out", code=2, capsys=capsys)[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["evaluate", "own.py:Breaks"], f"{IN_AGENT}: KeyError: "),
        (
            ["evaluate", "ucb1", "--track", "C", "--behaviour", "own.py:Breaks"],
            f"{IN_AGENT}: KeyError: ",
        ),
        (
            ["evaluate", "random", "--family", "own.py:Stuck"],
            f"{IN_FAMILY}: ValueError: no step",
        ),
        (["data", "own.py:Breaks", "--out", "data"], f"{IN_AGENT}: KeyError: "),
        (
            ["data", "random", "--family", "own.py:Stuck", "--out", "data"],
            f"{IN_FAMILY}: ValueError: no step",
        ),
        (
            ["train", RL2, "--family", "own.py:Stuck", "--budget", "400", "--out", "run"],
            f"{IN_FAMILY}: ValueError: no step",
        ),
        (
            ["tune", RL2, "--family", "own.py:Stuck", "--budget", "400", "--out", "runs"],
            f"{IN_FAMILY}: ValueError: no step",
        ),
        (["evaluate", "own.py:Mine", "--family", "own.py:Mine"], "own.py:Mine is no subclass of"),
        (["compare", "--methods", "own.py:Min", "--out", "out"], "Did you mean 'Mine'"),
        (["list", "axes", "--family", "own.py:Two"], "Did you mean 'TwoArms'"),
        (["check", "onw.py:Mine"], "There is no file onw.py in "),
    ],
)
def test_every_verb_names_the_fault_once(own, line, said, capsys):
    _, err = run(*line, code=2, capsys=capsys)
    assert err.count(said) == 1
    assert err.count(", line ") == ("line" in said)
    assert "fault of ours" not in err


def test_a_fault_in_what_own_code_returned_may_be_its_own(own, write, capsys):
    write("own.py", OWN.replace("return Decision(rng.integers(2))", "return rng"))
    _, err = run("evaluate", "own.py:Mine", *FEW, code=1, capsys=capsys)
    assert "This is a fault of own.py:Mine (metabridge check finds most of them), or of ours" in err
