"""Workers: alone by default, averages over real processes, and no process left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from bridge.errors import UserError
from bridge.training import workers


def test_alone_nothing_is_exchanged_and_accelerate_is_not_imported():
    code = "import sys; from bridge.training.workers import Workers; Workers(); sys.exit('accelerate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    team, value = workers.Workers(), torch.ones(3)
    assert (team.count, team.index) == (1, 0)
    assert team.mean(value) is value


def test_no_two_processes_and_no_two_updates_play_the_same_row():
    alone, two = workers.Workers(), [workers.Workers(), workers.Workers()]
    assert alone.rows(3, 5).tolist() == [15, 16, 17, 18, 19]
    for index, worker in enumerate(two):
        worker.count, worker.index = 2, index
    seen = [row for update in range(3) for worker in two for row in worker.rows(update, 5).tolist()]
    assert seen == list(range(30))


def share(out: Path, rounds: int) -> None:
    """What each process does: average its index, gradients that are its index plus one, and add up whole numbers."""
    with workers.joined() as team:
        layer = nn.Linear(2, 1)
        for parameter in layer.parameters():
            parameter.grad = torch.full_like(parameter, team.index + 1.0)
        for _ in range(rounds):
            mean = team.mean(torch.tensor([float(team.index)]))
        team.average_gradients(layer.parameters())
        grads = torch.cat([parameter.grad.flatten() for parameter in layer.parameters()])
        total = team.total(torch.tensor(10**9 + team.index**2))
        (out / f"{team.index}").write_text(
            f"{team.count} {mean.item()} {grads.unique().tolist()} {total}"
        )


def test_three_processes_average_add_up_and_end(tmp_path):
    before = dict(os.environ)
    with workers.helpers(3, share, tmp_path, 5):
        share(tmp_path, 5)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {str(i): "3 1.0 [2.0] 3000000005" for i in range(3)}
    assert dict(os.environ) == before
    assert not torch.distributed.is_initialized()
    with workers.joined() as team:  # the next training of this process is alone again
        assert team.count == 1


def exchange(fault_of: int, fault: str) -> None:
    with workers.joined() as team:
        for _ in range(3):
            team.mean(torch.zeros(1))
        if team.index == fault_of:
            raise RuntimeError(fault)
        for _ in range(1000):
            team.mean(torch.zeros(1))


@pytest.mark.slow
def test_a_helper_that_dies_is_reported_and_shows_its_fault(capfd):
    with (
        pytest.raises(UserError, match=r"A process of this training ended.*--resume"),
        workers.helpers(2, exchange, 1, "a"),
    ):
        exchange(1, "a")
    assert "RuntimeError: a" in capfd.readouterr().err


@pytest.mark.slow
def test_a_fault_of_the_first_process_is_its_own():
    with pytest.raises(RuntimeError, match="mine"), workers.helpers(2, exchange, 0, "mine"):
        exchange(0, "mine")


@pytest.mark.slow
def test_a_helper_that_cannot_start_is_reported(tmp_path):
    """A script without a __main__ guard starts itself again in its helper, which Python refuses."""
    script = tmp_path / "script.py"
    script.write_text(
        "from bridge.training import workers\nfrom bridge.errors import UserError\n"
        "try:\n    with workers.helpers(2, print):\n        pass\n"
        "except UserError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=100
    )
    assert "ended as it started" in done.stdout


@pytest.mark.slow
def test_an_interrupt_while_a_helper_starts_shows_no_traceback(tmp_path):
    """As from a terminal, it goes to both."""
    script, importing = tmp_path / "script.py", tmp_path / "importing"
    script.write_text(f"""
import signal, sys, time
from pathlib import Path
from bridge.training import workers
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with workers.helpers(2, print):
            time.sleep(60)  # on a slow machine the helper may have started before the interrupt
    except KeyboardInterrupt:
        sys.exit("interrupted")
else:
    Path({str(importing)!r}).touch()
    time.sleep(1)
""")
    process = subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.PIPE, start_new_session=True
    )
    while not importing.exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[1] == b"interrupted\n"


@pytest.mark.slow
def test_helpers_end_with_the_first_process(tmp_path):
    """SIGKILL leaves no time to clean up: the others notice that nobody answers."""
    script = f"""
import os, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_workers import last_for_ever
from pathlib import Path
from bridge.training import workers
if __name__ == "__main__":
    with workers.helpers(2, last_for_ever, Path({str(tmp_path)!r})):
        last_for_ever(Path({str(tmp_path)!r}))
"""
    (tmp_path / "script.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")], stderr=subprocess.DEVNULL
    )
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
        with (
            pytest.raises(UserError, match=r"--device cuda needs \d CUDA devices?, one a process"),
            workers.joined(device="cuda"),
        ):
            pass
    with pytest.raises(UserError, match="tracker 'comit'"), workers.joined(tracker="comit"):
        pass
