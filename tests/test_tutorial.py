"""The tutorial works: its files are written and its commands run, in one shell, as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_every_command_of_the_tutorial_does_what_it_says(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    script = "set -euo pipefail\n" + "\n".join(COMMANDS)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": path, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert sorted(FILES) == ["corridor.py", "win_stay.py"]
    assert len(COMMANDS) == 6
    table = (tmp_path / "first" / "tables" / "results.csv").read_text()
    assert {"zoo:icl_rl", "win_stay.py:WinStay", "bayes"} <= set(re.findall(r"[^,\n]+", table))
    assert (tmp_path / "second" / "tables" / "results.csv").is_file()
