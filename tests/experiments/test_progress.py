"""Progress: a first word in time, and names as they are."""

import io
import sys
import time

import pytest

from experiments import progress


def test_the_first_word_does_not_wait_for_the_work(monkeypatch, capsys):
    """An update that takes a minute reports nothing until it ends."""
    monkeypatch.setattr(progress, "_PATIENCE", 0.05)
    with progress.Progress(1000, "environment steps") as bar:
        bar.describe("rl2 on gridnavi")
        time.sleep(0.3)
        assert "rl2 on gridnavi: 0% of 1,000 environment steps" in capsys.readouterr().err


def test_what_ends_soon_says_nothing(capsys):
    with progress.Progress(1, "steps") as bar:
        bar.describe("something")
        bar.advance(1)
    time.sleep(0.05)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["x [y[/x]", "[bold]x", ":smile:"])
def test_a_name_is_no_markup(name, monkeypatch):
    """On a terminal, where a live bar shows it."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    said = Terminal()
    monkeypatch.setattr(sys, "stderr", said)
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress.Progress(2, "steps") as bar:
        bar.describe(name)
        bar.print(f"passed over: {name}")
    assert f"passed over: {name}" in said.getvalue()
    assert said.getvalue().count(name) >= 2
