"""The pool: an interrupt reaches every process, whenever it comes, and a worker that is gone is one clear line."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import os, signal, sys, time
from dataclasses import dataclass
from pathlib import Path
from bridge import interrupts
from bridge.errors import UserError
from experiments import pool, progress

out, kind = Path(sys.argv[1]), sys.argv[2]

@dataclass
class Job:
    number: int
    env_steps: int = 10
    learns: bool = True
    by_network: bool = False
    reads_text: bool = False
    name: str = "job"

    def run(self, advance):
        (out / f"begun-{self.number}").touch()
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.number == 0:  # as a training does, it hears in the worker's stead, and stops
            with interrupts.asked_to_stop() as asked:
                while not asked():
                    time.sleep(0.01)
            raise KeyboardInterrupt
        for _ in range(10):
            time.sleep(0.002)
            advance(1)

def wait_late(*what, **options):
    time.sleep(1)
    return wait(*what, **options)

if __name__ == "__main__":
    wait, pool.wait, pool._WORTH_PROCESSES = pool.wait, wait_late, 0
    pool.os.cpu_count, progress._PATIENCE = lambda: 2, 1e9
    try:
        with progress.Progress(1, "steps") as bar:
            for job, error in pool.each([Job(i) for i in range(1000)], bar):
                assert error is None
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except UserError as error:
        sys.exit(str(error))
elif kind == "early":
    (out / f"importing-{os.getpid()}").touch()
    time.sleep(1)
"""


@pytest.fixture
def started(tmp_path):
    """Start the script on jobs of a kind and interrupt it (or not) once two files of a name are there; gives what it
    said, and how many jobs had begun when it was interrupted."""

    def start(kind: str, *, interrupt_at: str = "") -> tuple[str, int]:
        (tmp_path / "script.py").write_text(SCRIPT)
        command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), kind]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
        try:
            deadline = time.monotonic() + 60
            while interrupt_at and len(list(tmp_path.glob(interrupt_at))) < 2:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.01)
            if interrupt_at:
                os.killpg(process.pid, signal.SIGINT)
            begun = len(list(tmp_path.glob("begun-*")))
            said = process.communicate(timeout=60)[1].decode()
        finally:
            process.kill()
        assert process.returncode == 1
        return said, begun

    return start


def test_no_worker_begins_a_job_after_an_interrupt_however_late_the_parent_hears(started, tmp_path):
    said, begun = started("short", interrupt_at="begun-*")
    assert said == "interrupted\n"
    # The parent hears up to a second later, enough for dozens of jobs; a worker may have been about to begin one.
    assert len(list(tmp_path.glob("begun-*"))) <= begun + 2


def test_an_interrupt_while_workers_start_shows_no_traceback(started):
    assert started("early", interrupt_at="importing-*") == ("interrupted\n", 0)


def test_a_worker_that_is_gone_is_one_clear_line(started):
    assert started("killed")[0] == (
        "A worker process was ended from outside: perhaps memory ran out. What was finished is kept; run the same "
        "command again to go on.\n"
    )
