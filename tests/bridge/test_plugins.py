"""Entry points of other packages: one that is as if installed (its metadata are on the path), and one that is."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from bridge.errors import UserError
from bridge.plugins import Registry
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import TaskFamily

MODULE = """
    from dataclasses import dataclass
    from bridge.tasks.bandit import Bandit
    from experiments.registry import Method

    @dataclass(frozen=True)
    class TwoArms(Bandit):
        \"\"\"Bandits of a package of its own.\"\"\"

        name = "two_arms"
        k: int = 2
        n: int = 4

    TINY_RL2 = Method("rl_algos.rl2", "Rl2Learner", budget_share=0.5)
    """
FAMILIES, METHODS = "metabridge.families", "metabridge.methods"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The metadata of a package with the given entry points of a group."""

    def install(group: str, points: dict[str, str]) -> None:
        info = tmp_path / "tiny_bridge-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-bridge\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        monkeypatch.syspath_prepend(tmp_path)

    return install


def families() -> Registry[type[TaskFamily]]:
    return Registry({"bandit": Bandit}, FAMILIES, TaskFamily, subclasses=True)


def test_without_other_packages_the_table_is_our_own():
    registry = families()
    assert list(registry) == ["bandit"]
    assert registry["bandit"] is Bandit
    assert len(registry) == 1
    assert "maze" not in registry
    with pytest.raises(KeyError):
        registry["maze"]


def test_entry_points_come_after_our_own_in_the_order_of_their_names(installed):
    installed(
        FAMILIES, {"room": "bridge.tasks.darkroom:Darkroom", "arm": "bridge.tasks.bandit:Bandit"}
    )
    registry = families()
    assert list(registry) == ["bandit", "arm", "room"]
    assert registry["room"].__name__ == "Darkroom"
    assert len(registry) == 3


def test_a_name_of_our_own_wins(installed):
    installed(FAMILIES, {"bandit": "bridge.tasks.darkroom:Darkroom"})
    assert families()["bandit"] is Bandit
    assert list(families()) == ["bandit"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("bridge.nowhere:Maze", "maze of tiny-bridge cannot be loaded .ModuleNotFoundError"),
        (
            "bridge.errors:UserError",
            "entry points of metabridge.families are a subclass of TaskFamily",
        ),
        (
            "bridge.errors:unknown",
            "entry points of metabridge.families are a subclass of TaskFamily",
        ),
    ],
)
def test_an_entry_point_that_does_not_fit_is_refused_when_it_is_used(installed, value, message):
    installed(FAMILIES, {"maze": value})
    registry = families()
    assert "maze" in registry
    with pytest.raises(UserError, match=message):
        registry["maze"]


@pytest.mark.slow
def test_an_installed_package_adds_a_family_and_a_method(tmp_path):
    package, target = tmp_path / "package", tmp_path / "site"
    package.mkdir()
    (package / "tiny_bridge.py").write_text(textwrap.dedent(MODULE))
    (package / "pyproject.toml").write_text(
        textwrap.dedent(
            f"""
            [build-system]
            requires = ["setuptools>=77"]
            build-backend = "setuptools.build_meta"
            [project]
            name = "tiny-bridge"
            version = "1.0"
            [project.entry-points."{FAMILIES}"]
            two_arms = "tiny_bridge:TwoArms"
            [project.entry-points."{METHODS}"]
            tiny_rl2 = "tiny_bridge:TINY_RL2"
            [tool.setuptools]
            py-modules = ["tiny_bridge"]
            """
        )
    )
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--no-deps", "--target", target, package], check=True)
    environment = os.environ | {"PYTHONPATH": f"{os.getcwd()}{os.pathsep}{target}"}

    def metabridge(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "experiments.cli", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = {
        what: json.loads(metabridge("list", what, "--json")) for what in ("families", "methods")
    }
    assert listed["families"][-1]["id"] == "two_arms:k=2,n=4"
    assert "tiny_rl2" in {entry["name"] for entry in listed["methods"]}
    described = json.loads(metabridge("describe", "tiny_rl2", "--json"))
    assert described["supervision"] == "reward"
    assert "two_arms" in described["families"]
    assert json.loads(metabridge("describe", "two_arms", "--json"))["action"] == "one of 2"
    spec = "tiny_rl2:hidden=8,steps_per_update=200,minibatches=1,epochs=1"
    metabridge("train", spec, "--family", "two_arms", "--budget", "200", "--out", "run")
    lines = metabridge("evaluate", "run", "--family", "two_arms", "--trials", "20", "--json")
    assert json.loads(lines.splitlines()[0])["method"] == "tiny_rl2 (run)"
