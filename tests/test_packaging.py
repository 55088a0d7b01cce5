"""The wheel holds what it should, works away from the checkout, starts light, and agrees with constraints.txt."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = {"bridge", "rl_algos", "llm_adapt", "experiments"}
HEAVY = ["torch", "transformers", "datasets", "peft", "matplotlib", "scipy", "pandas"]


def run(*command: str | Path, cwd: Path) -> str:
    """Run `command` away from the caller's Python settings and return what it printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a `build/` left in the checkout would leak deleted modules into it."""
    source, out = tmp_path_factory.mktemp("source") / "metabridge", tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns(
        ".*", "__pycache__", "*.egg-info", "build", "dist", "results", "runs"
    )
    shutil.copytree(ROOT, source, ignore=skip)
    # Without isolation the backend comes from this environment, and nothing from the network.
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=source)
    (built,) = out.glob("*.whl")
    return built


def test_wheel_holds_exactly_the_four_packages(wheel: Path) -> None:
    version = PYPROJECT["project"]["version"]
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0] for name in names} == PACKAGES | {f"metabridge-{version}.dist-info"}
    # A subfolder without an __init__.py would be left out in silence.
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert modules <= names


def test_installed_command_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """`metabridge list` runs from a new environment that holds the wheel.

    Only the heavy dependencies are borrowed: a .pth file appends the site-packages of the running environment. An
    editable install there stays out of reach, since .pth files are not read from a folder that a .pth file names.
    """
    env, elsewhere = tmp_path / "env", tmp_path / "elsewhere"
    elsewhere.mkdir()
    venv.create(env, symlinks=True)
    python, pip = (
        env / "bin" / "python",
        [sys.executable, "-m", "pip", "--python", env / "bin" / "python"],
    )
    run(*pip, "install", "-qq", "--no-deps", "--no-index", wheel, cwd=elsewhere)
    (site_packages,) = env.glob("lib/python*/site-packages")
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")

    probe = "import json, sys, bridge; print(json.dumps([bridge.__file__, sys.path]))"
    origin, search_path = json.loads(run(python, "-c", probe, cwd=elsewhere))
    assert Path(origin).is_relative_to(env)
    assert ROOT not in [(elsewhere / entry).resolve() for entry in search_path]
    assert run(env / "bin" / "metabridge", "list", cwd=elsewhere).strip()


def test_help_and_package_imports_stay_light() -> None:
    """What `metabridge --help` needs: none of the libraries that take seconds to import."""
    code = f"""
import sys
import {", ".join(sorted(PACKAGES))}
from experiments.cli import main

sys.argv = ["metabridge", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print()
print(*(name for name in {HEAVY} if name in sys.modules))
"""
    *help_text, loaded = run(sys.executable, "-c", code, cwd=ROOT).split("\n")[:-1]
    assert "metabridge" in "\n".join(help_text)
    assert loaded.split() == []


def test_constraints_agree_with_pyproject() -> None:
    """Every pin meets the ranges of pyproject.toml, and everything declared there is pinned."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {canonicalize_name(name): Version(version) for name, version in pins.items()}
    assert all(
        version.local is None for version in pinned.values()
    )  # 2.13.0 admits 2.13.0+cpu, not the other way

    project = PYPROJECT["project"]
    declared = (
        project["dependencies"]
        + project["optional-dependencies"]["dev"]
        + PYPROJECT["build-system"]["requires"]
    )
    for requirement in map(Requirement, declared):
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, str(
            requirement
        )
