"""``metabridge list``: a line for each name at any width, below the heading of its group."""

import json
import re

import pytest

from experiments import listing
from experiments.commands.list import show
from tests.experiments.commands import run

KINDS = ("families", "methods", "splits", "axes", "experiments", "zoo")


def names(what: str, capsys) -> list[str]:
    """The names in the order of the array, as they are typed."""
    found = json.loads(run("list", what, "--json", capsys=capsys)[0])
    return [entry.get("id", entry["name"]).removeprefix("compare --size ") for entry in found]


@pytest.fixture
def terminal(monkeypatch):
    """Makes standard output a terminal of some width."""

    def of_width(columns: int) -> None:
        for name, value in (("TTY_COMPATIBLE", "1"), ("TERM", "xterm"), ("COLUMNS", str(columns))):
            monkeypatch.setenv(name, value)

    return of_width


def printed(what: str, capsys) -> list[str]:
    """The lines of a list, without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", run("list", what, capsys=capsys)[0]).splitlines()


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("what", KINDS)
def test_every_entry_has_one_line_that_fits(what, columns, terminal, capsys):
    expected = names(what, capsys)
    terminal(columns)
    *lines, more = printed(what, capsys)
    assert max(map(len, lines)) <= columns
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(listed) == sorted(expected)
    assert more.startswith("More: metabridge describe ")


def test_a_line_is_cut_on_a_terminal_and_whole_elsewhere(terminal, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    whole = printed("methods", capsys)
    assert any(
        re.fullmatch("  rl2 +RL²: a recurrent policy learns to learn", line) for line in whole
    )
    assert max(map(len, whole)) > 120
    assert not [line for line in whole if line.endswith("…")]
    terminal(60)
    *cut, _more = printed("methods", capsys)
    for line, first in zip(whole, cut, strict=True):
        assert first == (line if len(line) <= 60 else f"{line[:59]}…")


def test_a_terminal_without_unicode_has_dots(terminal, monkeypatch, capsys):
    monkeypatch.setattr("rich.console.Console.encoding", "ascii")
    terminal(60)
    lines = printed("families", capsys)
    assert lines[1].endswith("...")
    assert max(map(len, lines)) == 60


def groups_of(what: str, capsys) -> dict[str, list[str]]:
    """The names below each heading."""
    groups = re.split(r"^(?=\S)", "\n".join(printed(what, capsys)), flags=re.MULTILINE)[1:]
    split = (group.splitlines() for group in groups)
    return {heading: [line.split()[0] for line in lines] for heading, *lines in split}


def test_methods_are_in_five_groups(capsys):
    groups = groups_of("methods", capsys)
    references, classical, transformers, pretrained, at_test = groups.values()
    assert {"random", "bayes", "blind"} <= set(references)
    assert {"maml", "pearl", "rl2", "mtrl_sac"} <= set(classical)
    assert {"icl_rl", "mt", "lora_maml", "lora_demos_mt"} <= set(transformers)
    assert {"prompted", "prompted_smollm2"} <= set(pretrained)
    assert {"lora_reward", "icl_then_lora"} <= set(at_test)


def test_splits_axes_and_runs_are_below_their_family(capsys):
    for what in ("splits", "axes"):
        groups = {
            heading.partition(":")[0]: names for heading, names in groups_of(what, capsys).items()
        }
        assert [
            any("slip" in name for name in groups[each]) for each in ("bandit", "gridnavi")
        ] == [False, True]
    for family, names in groups_of("zoo", capsys).items():
        assert {name.split("/")[1] for name in names} == {family.partition(":")[0]}


def test_methods_that_play_none_of_the_families_are_left_out(capsys):
    found = listing.entries("methods")
    show("methods", [entry | {"families": []} for entry in found[1:]] + found[:1])
    assert capsys.readouterr().out.split()[:2] == ["References", "random"]
