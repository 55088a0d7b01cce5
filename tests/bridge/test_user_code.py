"""A user's own code: which specs name it, what it imports, and how its errors are described."""

import json
import os
import random
import sys

import pytest

from bridge import user_code
from bridge.errors import UserError
from bridge.user_code import load, portable, target_of


@pytest.mark.parametrize(
    ("spec", "target"),
    [
        ("own.py:Mine", "own.py:Mine"),
        ("own.py:Mine:c=0.1,run=a:b", "own.py:Mine"),
        ("a/m=1/own.py:Mine", "a/m=1/own.py:Mine"),
        ("own.py", "own.py"),
        ("own.py:c=1", "own.py"),
        ("whole.part:Mine:c=1", "whole.part:Mine"),
        ("bandit:k=5", ""),
        ("zoo:icl_rl/gridnavi", ""),
        ("icl_dpt:data=own.py:Mine", ""),
        ("runs/own.python", ""),
        ("folder.py", ""),
    ],
)
def test_a_spec_names_own_code_by_a_file_or_by_a_module_and_a_name(spec, target, write):
    write("folder.py/config.json", "")
    assert target_of(spec) == target


def test_a_file_in_the_current_folder_is_kept_by_its_relative_path(write, tmp_path, monkeypatch):
    write("part/own.py", "")
    for place in ("part/own.py", "./part/own.py", "part/../part/own.py", f"{tmp_path}/part/own.py"):
        assert portable(f"{place}:Mine") == "part/own.py:Mine"
    monkeypatch.chdir("part")
    assert portable("../own.py:Mine") == f"{tmp_path}/own.py:Mine"
    assert portable("whole.part:Mine") == "whole.part:Mine"


def test_neighbours_are_imported_also_later(write):
    write("arms_of_mine.py", "arms = 3\n")
    write("later_of_mine.py", "arms = 4\n")
    later = "def later():\n    import later_of_mine\n    return later_of_mine.arms\n"
    write("own.py", f"from arms_of_mine import arms\n{later}")
    assert load("own.py:arms") == 3
    assert load("own.py:later")() == 4


def test_neighbours_of_another_folder_are_others(write):
    for folder, arms in (("one", 3), ("two", 7)):
        write(f"{folder}/arms_of_mine.py", f"arms = {arms}\n")
        write(f"{folder}/own.py", "from arms_of_mine import arms\n")
    assert [load(f"{folder}/own.py:arms") for folder in ("one", "two", "one")] == [3, 7, 3]


@pytest.mark.parametrize("name", ["random", "json", "bridge", "experiments", "own"])
def test_a_file_shadows_nothing_whatever_its_name(write, name):
    write("json.py", "raise ValueError('not the one')\n")
    file = write(f"{name}.py", "import json, random, bridge.rng\narms = 3\n")
    assert load(f"{file}:arms") == 3
    assert sys.modules["random"] is random
    assert sys.modules["json"] is json


@pytest.mark.parametrize("order", [("maze", "agent"), ("agent", "maze")])
def test_a_class_is_the_same_one_for_its_neighbours(write, order):
    """An agent that imports a family meets instances of that class."""
    write("maze.py", "class Maze: pass\n")
    write("agent.py", "from maze import Maze\n")
    first, second = (load(f"{name}.py:Maze") for name in order)
    assert first is second


def test_a_changed_file_is_loaded_again(write):
    file = write("own.py", "arms = 3\n")
    assert load("own.py:arms") == 3
    first = user_code.digest("own.py:arms")
    write("own.py", "arms = 4\n")
    os.utime(file, (9e8, 9e8))
    assert load("own.py:arms") == 4
    assert user_code.changed_at("own.py:arms") == 9e8
    assert user_code.digest("own.py:arms") != first


def test_relative_imports_work_in_a_package(write):
    write("pack_of_mine/__init__.py", "")
    write("pack_of_mine/parts/__init__.py", "")
    write("pack_of_mine/arms.py", "arms = 3\n")
    file = write("pack_of_mine/parts/own.py", "from ..arms import arms\n")
    assert load(f"{file}:arms") == 3
    assert load("pack_of_mine.parts.own:arms") == 3
    write("json/__init__.py", "")
    with pytest.raises(UserError, match=r"Rename its package|cannot be imported"):
        load(f"{write('json/own.py', 'arms = 3')}:arms")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import torch\n\nx = 1 / 0\n",
            r"^own.py cannot be imported: own.py, line 3: ZeroDivisionError: division",
        ),
        ("import torch\nimport no_such_thing\n", r"own.py, line 2: ModuleNotFoundError"),
        ("import torch\ntorch.zeros(2) @ torch.zeros(3)\n", r"own.py, line 2: RuntimeError"),
        ("import far_of_mine\n", r"imported: far_of_mine.py, line 2: KeyError"),
        ("def broken(:\n", r"^own.py cannot be imported: SyntaxError: [^:]*\(own.py, line 1\)$"),
        ("raise SystemExit(3)\n", r"own.py, line 1: SystemExit: 3"),
    ],
)
def test_errors_of_an_import_name_file_and_line(write, text, said):
    write("far_of_mine.py", "arms = {}\narms['three']\n")
    write("own.py", text)
    with pytest.raises(UserError, match=said):
        load("own.py:Mine")
    assert not [name for name in sys.modules if name.startswith("own")]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            "ownn.py:Mine",
            r"There is no file ownn.py in /.*Did you mean 'own.py'\? .*run the command in",
        ),
        ("own.py:Mind", "Unknown name in own.py: 'Mind'. Did you mean 'Mine'"),
        ("own.py", "Name what is meant in own.py: own.py:NAME. It defines Mine."),
        ("no_such_module:Mine", "no_such_module cannot be imported: there is no such module in /"),
    ],
)
def test_a_bad_place_names_the_nearest_and_the_remedy(write, target, said):
    write("own.py", "import torch\nclass Mine: pass\n")
    with pytest.raises(UserError, match=said):
        load(target)


def test_the_line_of_an_error_is_the_users_last_one(write):
    """Lines below it are a library's, lines above it ours."""
    write("own.py", "import torch\ndef act(x):\n    return torch.zeros(2) @ x\n")
    act = load("own.py:act")
    with pytest.raises(RuntimeError) as caught:
        act(__import__("torch").zeros(3))
    assert user_code.is_at_fault(caught.value)
    assert user_code.described(caught.value).startswith("own.py, line 3: RuntimeError: ")
    with pytest.raises(ZeroDivisionError) as ours:
        raise ZeroDivisionError("ours")
    assert not user_code.is_at_fault(ours.value)
    assert user_code.described(ours.value) == "ZeroDivisionError: ours"
    assert user_code.described(AssertionError()) == "AssertionError"
