"""Descriptions: everything that can be named has one, and so has each of its keys."""

import json
import shlex

import pytest

from bridge.errors import UserError
from experiments import cli, describing, listing
from experiments.commands.describe import show
from experiments.sizes import SIZES
from tests.experiments.commands import run

METHODS = [entry["name"] for entry in listing.entries("methods")]
FAMILIES = [entry["id"] for entry in listing.entries("families")]
AXES = sorted({entry["name"] for entry in listing.entries("axes")})
ZOO = [entry["name"] for entry in listing.entries("zoo")]
NAMES = [*METHODS, *FAMILIES, *AXES, *SIZES, *ZOO]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_described_and_its_commands_are_commands(name, capsys):
    described = describing.describe(name)
    assert described["name"] == name
    for parameter in described.get("parameters", ()):
        assert parameter["meaning"].endswith("."), parameter
    for command in described["try"]:
        program, *words = shlex.split(command)
        assert program == "metabridge"
        cli.parse(words)
    show(described)
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith(f"{name}: {described['kind']}")
    assert described["try"][0] in printed


def test_a_learned_method(capsys):
    found = json.loads(run("describe", "rl2", "--json", capsys=capsys)[0])
    assert found["papers"][:2] == [
        "Duan et al. 2016, arXiv 1611.02779",
        "Wang et al. 2016, arXiv 1611.05763",
    ]
    assert found["supervision"] == "reward"
    assert found["reads"] == "the trial so far"
    assert found["gradient_steps"] == "none"
    assert found["families"] == [name.partition(":")[0] for name in FAMILIES]
    keys = {each["key"]: each for each in found["parameters"]}
    assert keys["core"] == {
        "key": "core",
        "default": "gru",
        "values": "gru | lstm | linear",
        "meaning": "The recurrence.",
    }
    assert keys["lr"]["meaning"].startswith("Highest learning rate of Adam")  # of the base class
    assert (keys["lr"]["default"], keys["lr"]["values"]) == (0.005, "above 0")
    printed, _ = run("describe", "rl2", capsys=capsys)
    assert "core=gru                The recurrence. [gru | lstm | linear]" in printed


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("maml", "gradient_steps", "in every trial, by reward"),
        ("lora_demos_mt", "gradient_steps", "in every trial, by demonstrations"),
        ("icl_dpt", "supervision", "optimal_actions"),
        ("oracle", "given_at_test", "the task"),
        ("mtrl", "given_at_test", "the id of a known task"),
        ("greedy", "supervision", "none on bandit; prior on tabular_mdp"),
        ("gittins", "exactness", "near"),
        (
            "ucb1",
            "papers",
            ["Auer, Cesa-Bianchi & Fischer 2002", "Lee et al. 2023", "Krishnamurthy et al. 2024"],
        ),
        ("tabular_mdp", "tasks", {"train": "endless", "id_val": "endless", "id": "endless"}),
        ("darkroom", "tasks", {"train": 72, "id_val": 8, "id": 20}),
        ("bandit:k=3", "action", "one of 3"),
        ("bandit:k=3", "name", "bandit:k=3,n=10"),
        ("quick", "seeds", (0,)),
        (
            "minigrid",
            "try",
            [
                "metabridge evaluate random --family minigrid --splits id --trials 1000",
                "metabridge train rl2 --family minigrid --budget 1e6 --out runs/rl2",
            ],
        ),
    ],
)
def test_a_fact(name, key, expected):
    assert describing.describe(name)[key] == expected


def test_keys_that_a_method_does_not_read_are_left_out_and_conditions_are_given():
    cloner = {each["key"] for each in describing.describe("lora_demos")["parameters"]}
    assert "inner_steps" in cloner
    assert "inner_every" not in cloner
    maml = {each["key"]: each for each in describing.describe("maml")["parameters"]}
    assert maml["max_kl"]["only_with"] == "outer=trpo"


def test_a_default_that_differs_between_families_is_given_for_each():
    found = describing.describe("epsilon_greedy")["parameters"]
    assert [(each["default"], each["families"]) for each in found if each["key"] == "epsilon"] == [
        (0.05, ["bandit"]),
        (0.1, ["tabular_mdp"]),
    ]


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("slip", ["gridnavi", "darkroom"]),
        ("gridnavi/slip", ["gridnavi"]),
        ("darkroom:train=hole/hole", ["darkroom:train=hole"]),
        ("bandit/gap", ["bandit:k=5,n=10"]),
    ],
)
def test_an_axis_of_all_families_or_of_one(name, families):
    found = describing.describe(name)
    assert [axis["family"] for axis in found["families"]] == families
    assert all(len(axis["values"]) == 5 for axis in found["families"])


def test_a_run_that_ships_has_its_model_card(capsys):
    printed, _ = run("describe", "zoo:icl_dpt/bandit/2", capsys=capsys)
    assert "# icl_dpt on bandit:k=5,n=10, training seed 2" in printed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rl3", "Did you mean 'rl2'?"),
        ("gridnavy", "Did you mean 'gridnavi'?"),
        ("slipp", "Did you mean 'slip'?"),
        ("quik", "Did you mean 'quick'?"),
        ("gridnavi/slipp", "Unknown axis of gridnavi: 'slipp'. Did you mean 'slip'?"),
        ("zoo:icl_rm/bandit", "Did you mean 'icl_rl'?"),
        ("bandit:q=3", "Unknown key in 'bandit:q=3'"),
        ("bandit:q=3/gap", "Unknown key in 'bandit:q=3'"),
        ("ucb1:c=3", "describe the method alone: metabridge describe ucb1"),
        ("", "Unknown name ''"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, message, capsys):
    assert message in run("describe", name, capsys=capsys, code=2)[1]


OWN = '''
"""Things of mine."""

from dataclasses import dataclass

from bridge.references.bandit.thompson import thompson
from bridge.tasks.bandit import Bandit


@dataclass(frozen=True)
class TwoArms(Bandit):
    """Bandits of two arms."""

    name = "two_arms"
    k: int = 2


def pulls(family, split, c=0.5):
    """Pull.

    Args:
        c: a number of mine.
    """
    return thompson(family, split)
'''


def test_what_is_ones_own(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    family = describing.describe("mine.py:TwoArms:n=4")
    assert (family["name"], family["kind"]) == ("mine.py:TwoArms:k=2,n=4", "task family")
    assert family["about"] == "Bandits of two arms."
    assert [axis["name"] for axis in family["axes"]][:2] == ["changes", "gap"]
    agent = describing.describe("mine.py:pulls")
    assert (agent["kind"], agent["about"]) == ("agent of your own", "Pull.")
    assert agent["parameters"] == [
        {"key": "c", "default": 0.5, "values": "a number", "meaning": "A number of mine."}
    ]
    for command in family["try"] + agent["try"]:
        cli.parse(shlex.split(command)[1:])
    with pytest.raises(UserError, match=r"describe the method alone: .* mine\.py:pulls$"):
        describing.describe("mine.py:pulls:c=1")
    with pytest.raises(UserError, match=r"Known: TwoArms, pulls"):
        describing.describe("mine.py:push")
