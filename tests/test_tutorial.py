"""The tutorials work: their files are written and their commands run, in one shell, as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def commands_of(page: str) -> list[str]:
    """The blocks of commands of a page."""
    return re.findall(r"```bash\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def printed(commands: list[str], folder: Path) -> str:
    """What commands print, in one shell in a folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "set -euo pipefail\n" + "\n".join(commands)],
        cwd=folder,
        env=os.environ | {"PATH": path, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_every_command_of_the_tutorial_does_what_it_says(tmp_path):
    page = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", page, re.DOTALL))
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    commands = commands_of("tutorial.md")
    printed(commands, tmp_path)
    assert sorted(files) == ["corridor.py", "win_stay.py"]
    assert len(commands) == 6
    table = (tmp_path / "first" / "tables" / "results.csv").read_text()
    assert {"zoo:icl_rl", "win_stay.py:WinStay", "bayes"} <= set(re.findall(r"[^,\n]+", table))
    assert (tmp_path / "second" / "tables" / "results.csv").is_file()


@pytest.mark.slow
def test_a_comparison_on_acrobot_from_its_tutorial_alone(tmp_path):
    (commands,) = commands_of("gymnasium.md")
    assert len(commands.splitlines()) <= 30
    found = printed([commands], tmp_path)
    assert "keeps the contract" in found
    table = (tmp_path / "results" / "acrobot" / "tables" / "results.csv").read_text()
    assert {"runs/rl2", "runs/mtrl", "runs/icl", "random"} <= set(re.findall(r"[^,\n]+", table))
