"""A warm process to fork commands from, and what each of them leaves where nothing happens to it."""

from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.experiments.survival import processes
from tests.experiments.survival.commands import BASE, COMMANDS, Command, products


class Whole(NamedTuple):
    """An uninterrupted run of a command."""

    out: Path
    touched: list[str]
    products: dict[str, Any]


@pytest.fixture(scope="session")
def context() -> BaseContext:
    return processes.warm()


@pytest.fixture(scope="session")
def base(context, tmp_path_factory) -> Path:
    """A trained transformer, to be fine-tuned."""
    out = tmp_path_factory.mktemp("base") / "run"
    ended = processes.run(context, out.parent, [*BASE, "--out", str(out)])
    assert ended.code == 0, ended.said
    return out


@pytest.fixture(scope="session", params=COMMANDS, ids=lambda command: command.name)
def command(request) -> Command:
    return request.param


@pytest.fixture(scope="session")
def whole(command, context, base, tmp_path_factory) -> Whole:
    home = tmp_path_factory.mktemp("whole")
    out = home / "out"
    ended = processes.run(context, home, command.at(out, base=base))
    assert ended.code == 0, ended.said
    return Whole(out, ended.touched, products(out))
