"""The command's help has an example that can be typed; its version, and completion, come from outside."""

import os
import shlex
import subprocess
import sys

import pytest

from experiments import cli, version
from tests.experiments.commands import run

NAMES = [cli.name_of(command) for command in cli._COMMANDS]
COMMAND = [sys.executable, "-m", "experiments.cli"]


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_has_an_example_that_parses(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    printed, _ = run(*filter(None, [name]), "--help", capsys=capsys)
    (example,) = (line for line in printed.splitlines() if line.startswith("For example: "))
    program, *words = shlex.split(example.removeprefix("For example: "))
    assert program == "metabridge"
    assert words[0] == (name or words[0])
    assert cli.name_of(type(cli.parse(words))) == words[0]
    assert len(example) <= 120


def test_the_list_of_commands_is_short(capsys):
    printed, _ = run("--help", capsys=capsys)
    assert printed.count("For example:") == 1
    for name in NAMES:
        assert f"• {name}" in printed


def test_the_version_names_the_commit_of_a_checkout(capsys, monkeypatch):
    checkout = version.Checkout("782d26bfa56a0ba5ec8a58a3b44df7a2bcca1d4b", changed=True)
    monkeypatch.setattr(version, "checkout", lambda: checkout)
    printed, _ = run("--version", capsys=capsys)
    assert printed.startswith("metabridge ")
    assert printed.endswith(" (commit 782d26b, with changes)\n")
    monkeypatch.setattr(version, "checkout", lambda: None)
    assert "commit" not in run("--version", capsys=capsys)[0]


def test_a_file_that_git_does_not_know_is_of_no_checkout(monkeypatch, tmp_path):
    """As in the site-packages of somebody's repository."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(version, "__file__", str(tmp_path / "version.py"))
    (tmp_path / "version.py").touch()
    assert version.checkout() is None
    monkeypatch.setenv("PATH", "")
    assert version.checkout() is None


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_into_a_closed_pipe_is_quiet(unbuffered):
    done = subprocess.run(
        ["bash", "-c", f"{shlex.join(COMMAND)} --help | true; exit ${{PIPESTATUS[0]}}"],
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_commands_flags_and_values(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["--tyro-print-completion", "bash"])
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    lines = ("metabridge desc", "metabridge evaluate --tri", "metabridge compare --size sm")
    asked = [
        f'COMP_WORDS=({line}); COMP_CWORD={line.count(" ")}; $complete; echo "${{COMPREPLY[@]}}"'
        for line in lines
    ]
    registered = "complete=$(complete -p metabridge | sed 's/.*-F \\([^ ]*\\) .*/\\1/')"
    done = subprocess.run(
        ["bash", "-c", "\n".join(["source completion", registered, *asked])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [sorted(line.split()) for line in done.stdout.splitlines()] == [
        ["describe"],
        ["--trials", "--trials-per-task"],
        ["small", "smoke"],
    ]


@pytest.mark.parametrize(
    ("command", "knobs"),
    [("train", True), ("compare", True), ("check", True), ("list", True), ("report", False)],
)
def test_commands_that_take_a_family_name_the_flags_for_gymnasium(command, knobs, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert ("--vary length" in capsys.readouterr().out) == knobs
