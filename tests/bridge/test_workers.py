"""Workers: alone by default, averages over real processes, and no process left behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from bridge import workers
from bridge.errors import UserError


def test_alone_nothing_is_exchanged_and_accelerate_is_not_imported():
    code = "import sys; from bridge.workers import Workers; Workers(); sys.exit('accelerate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    team, value = workers.Workers(), torch.ones(3)
    assert (team.count, team.index) == (1, 0)
    assert team.mean(value) is value


def share(out: Path, rounds: int) -> None:
    """What each process does: average its index, and gradients that are its index plus one."""
    with workers.joined() as team:
        layer = nn.Linear(2, 1)
        for parameter in layer.parameters():
            parameter.grad = torch.full_like(parameter, team.index + 1.0)
        for _ in range(rounds):
            mean = team.mean(torch.tensor([float(team.index)]))
        team.average_gradients(layer.parameters())
        grads = torch.cat([parameter.grad.flatten() for parameter in layer.parameters()])
        (out / f"{team.index}").write_text(f"{team.count} {mean.item()} {grads.unique().tolist()}")


def test_three_processes_average_and_end(tmp_path):
    before = dict(os.environ)
    with workers.helpers(3, share, tmp_path, 5):
        share(tmp_path, 5)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {str(i): "3 1.0 [2.0]" for i in range(3)}
    assert dict(os.environ) == before
    assert not torch.distributed.is_initialized()
    with workers.joined() as team:  # the next training of this process is alone again
        assert team.count == 1


def fail_if_helper() -> None:
    with workers.joined() as team:
        if team.index:
            sys.exit(3)
        for _ in range(1000):
            team.mean(torch.zeros(1))


def test_a_helper_that_dies_is_reported():
    with pytest.raises(UserError, match=r"A training process ended.*--resume"), workers.helpers(2, fail_if_helper):
        fail_if_helper()


def test_helpers_end_with_the_first_process(tmp_path):
    """SIGKILL leaves no time to clean up: the others notice that nobody answers."""
    script = f"""
import os, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_workers import last_for_ever
from pathlib import Path
from bridge import workers
if __name__ == "__main__":
    with workers.helpers(2, last_for_ever, Path({str(tmp_path)!r})):
        last_for_ever(Path({str(tmp_path)!r}))
"""
    (tmp_path / "script.py").write_text(script)
    process = subprocess.Popen([sys.executable, str(tmp_path / "script.py")], stderr=subprocess.DEVNULL)
    pid = tmp_path / "helper"
    while not pid.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    helper, deadline = int(pid.read_text()), time.monotonic() + 60
    while alive(helper) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(helper)


def last_for_ever(out: Path) -> None:
    with workers.joined() as team:
        while True:
            team.mean(torch.zeros(1))
            if team.index:
                (out / "part").write_text(str(os.getpid()))
                (out / "part").replace(out / "helper")


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_what_is_not_there_is_refused():
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="finds no CUDA device"), workers.joined(device="cuda"):
            pass
    with pytest.raises(UserError, match="tracker 'comit'"), workers.joined(tracker="comit"):
        pass
