"""The command, run in this process."""

import pytest

from experiments import cli


def run(*arguments: str, capsys, code: int = 0) -> tuple[str, str]:
    """Run the command in this process; returns what it printed."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    out, err = capsys.readouterr()
    assert stop.value.code == code, err
    return out, err
