"""A user's own agents and families, as they write them, under ``metabridge check``."""

import json
import random
import sys

import pytest

from bridge.errors import UserError
from experiments.checking import check
from experiments.user_code import importable, load

AGENT = """
from bridge.protocol import Card, Decision
from bridge.references.random import Random

class Mine:
    card = Card(method="mine")

    def start(self, clues, trial, rng):
        return rng.at("start").uniform()

    def begin(self, memory, rng, *, episode):
        return memory

    def act(self, memory, obs, rng, *, explore):
        return Decision(rng.integers({arms}))

    def observe(self, memory, step, carry=None):
        return memory

    def adapt(self, memory, rng, *, episode, last):
        return memory
"""
FAMILY = "bandit:k=3,n=4"


@pytest.fixture
def write(tmp_path):
    """Write a file of a user's, and have nothing of it left in this process."""
    modules, path = set(sys.modules), list(sys.path)

    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    yield write
    assert sys.path == path
    assert not [
        name for name in set(sys.modules) - modules if str(tmp_path) in str(sys.modules[name])
    ]


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ("", "Mine"),
        ("class Told(Mine):\n    def __init__(self, family): self.arms = family.action.n", "Told"),
        ("class Both(Mine):\n    def __init__(self, family, split): self.split = split", "Both"),
        ("def make(family, split): return Mine()", "make"),
        ("def alone(): return Mine()", "alone"),
        ("made = Mine()", "made"),
    ],
)
def test_a_card_may_be_an_attribute_of_the_class_and_a_constructor_takes_what_it_likes(
    write, capsys, more, name
):
    """A class is made whether or not it has a card: honest agents keep every rule."""
    file = write("own.py", AGENT.format(arms=3) + more)
    assert check(f"{file}:{name}", FAMILY) == 0, capsys.readouterr().out


def test_neighbours_are_imported_also_while_it_plays(write):
    write("arms_of_mine.py", "arms = 3\n")
    write("later_of_mine.py", "arms = 3\n")
    text = "from arms_of_mine import arms\n" + AGENT.format(arms="arms")
    text = text.replace("return Decision(", "import later_of_mine; return Decision(")
    assert check(f"{write('own.py', text)}:Mine", FAMILY) == 0


def test_neighbours_of_another_folder_are_others(write):
    for folder, arms, breaches in (("one", 3, 0), ("two", 7, 1)):
        write(f"{folder}/arms_of_mine.py", f"arms = {arms}\n")
        file = write(
            f"{folder}/own.py", "from arms_of_mine import arms\n" + AGENT.format(arms="arms")
        )
        assert check(f"{file}:Mine", FAMILY) == breaches


@pytest.mark.parametrize("name", ["random", "json", "bridge", "experiments", "own"])
def test_a_file_shadows_nothing_whatever_its_name(write, name):
    write("json.py", "raise ValueError('not the one')\n")
    file = write(f"{name}.py", "import json, random, bridge.rng\n" + AGENT.format(arms=3))
    assert check(f"{file}:Mine", FAMILY) == 0
    assert sys.modules["random"] is random
    assert sys.modules["json"] is json


def test_relative_imports_work_in_a_package(write):
    write("pack_of_mine/__init__.py", "")
    write("pack_of_mine/parts/__init__.py", "")
    write("pack_of_mine/arms.py", "arms = 3\n")
    file = write(
        "pack_of_mine/parts/own.py", "from ..arms import arms\n" + AGENT.format(arms="arms")
    )
    assert check(f"{file}:Mine", FAMILY) == 0
    write("json/__init__.py", "")
    with pytest.raises(
        UserError, match=r"is the module json.own|Rename its package|cannot be imported"
    ):
        check(f"{write('json/own.py', AGENT.format(arms=3))}:Mine", FAMILY)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import torch\n\nx = 1 / 0\n",
            r"own.py cannot be imported: .*own.py, line 3: ZeroDivisionError: division",
        ),
        (
            "import torch\nimport no_such_thing\n",
            r"own.py, line 2: ModuleNotFoundError: .*no_such_thing",
        ),
        ("import torch\ntorch.zeros(2) @ torch.zeros(3)\n", r"own.py, line 2: RuntimeError"),
        ("import far_of_mine\n", r"far_of_mine.py, line 2: KeyError"),
        ("def broken(:\n", r"own.py cannot be imported: SyntaxError: .*own.py, line 1"),
        ("raise SystemExit(3)\n", r"own.py, line 1: SystemExit: 3"),
        (
            "class Mine:\n    def __init__(self):\n        {}['arms']\n",
            r"cannot be made .*own.py, line 3: KeyError: 'arms'",
        ),
        ("def Mine(a, b, c): pass\n", r"cannot be made .*its arguments are \(a, b, c\)"),
        ("Mine = 3\n", "is neither a TaskFamily nor an agent"),
        ("Mind = 3\n", "Unknown name in .*Did you mean 'Mind'"),
    ],
)
def test_errors_are_told_as_the_users_own_with_file_and_line(write, text, said):
    write("far_of_mine.py", "arms = {}\narms['three']\n")
    with pytest.raises(UserError, match=said):
        check(f"{write('own.py', text)}:Mine", FAMILY)


def test_a_module_of_the_current_folder_is_found(write, tmp_path, monkeypatch):
    write("whole_of_mine.py", AGENT.format(arms=3))
    monkeypatch.chdir(tmp_path)
    assert check("whole_of_mine:Mine", FAMILY) == 0
    with importable("whole_of_mine:Mine"):
        assert load("whole_of_mine:Mine").card.method == "mine"


def test_a_path_may_hold_what_looks_like_parameters(write, tmp_path):
    folder = tmp_path / "m=1"
    folder.mkdir()
    write("m=1/own.py", AGENT.format(arms=3))
    assert check(f"{folder}/own.py:Mine", FAMILY) == 0
