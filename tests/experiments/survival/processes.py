"""A command as a process of its own, to which something happens at a chosen moment.

Processes are forked from one that has imported everything (``multiprocessing``'s fork server): a fresh interpreter
would spend four seconds on imports, each of some hundred times.

Moments are counted in touches of the disk, which Python's audit events report: a file opened for writing, moved or
removed, a folder made. Between two touches nothing changes that a later process could see, so no other moments differ,
and they are the same ones in every run. (What native code writes is not reported; a limit on the size of files stops
it half-way.)
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import experiments
import llm_adapt
import rl_algos
from bridge.tasks import FAMILIES

_PRELOADED = (
    "accelerate",
    "matplotlib.pyplot",
    "transformers.models.llama.modeling_llama",
    *(
        module.name
        for package in (experiments, llm_adapt, rl_algos)
        for module in iter_modules(package.__path__, f"{package.__name__}.")
    ),
    __name__,
)
_PATIENCE = 60.0
"""Seconds after which a process is taken to hang."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
_NEW_MOUNTS = 0x20000
"""``CLONE_NEWNS`` of unshare(2)."""
_HURRY = 30.0
"""Seconds by which the clock jumps whenever it is read: checkpoints are due after every third update or so."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to a process."""

    signal: int = 0
    """Sent before touch number ``at``; 0: none."""
    at: int = 0
    largest: int = 0
    """Bytes that a file may have; 0: any number."""
    deadly: bool = False
    """Whether a larger file ends the process as a kill does, in the middle of writing; otherwise it is an error."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    """Its exit code; minus the signal that killed it."""
    said: str
    """Its standard error."""
    touched: list[str] = field(default_factory=list)
    """Its touches of the disk; none of a process that was killed."""
    steps: int = 0
    """How often it stepped a simulator; 0 of a process that was killed."""


def last_word(ended: Ended, code: int) -> str:
    """The last line of what was said by a process with this exit code: its only error, and no fault of ours."""
    assert ended.code == code, ended
    *before, last = ended.said.splitlines()
    assert not any(line.startswith("metabridge: ") for line in before), ended.said
    assert "Traceback" not in ended.said
    assert "fault of ours" not in ended.said
    return last


class Running:
    """A process under way; all that it touches is in ``home``, the cache included."""

    def __init__(
        self, context: BaseContext, home: Path, arguments: Sequence[str], fault: Fault | None = None
    ) -> None:
        self._said, said = context.Pipe(duplex=False)
        # The types of contexts know Process by their subclasses only.
        made: Any = context
        self.process: BaseProcess = made.Process(
            target=_live, args=(home, list(arguments), fault or Fault(), said)
        )
        self.process.start()
        said.close()

    def wait_until_stopped(self) -> None:
        """Wait for the SIGSTOP of a fault."""
        deadline = time.monotonic() + _PATIENCE
        status = Path(f"/proc/{self.process.pid}/status")
        while "\nState:\tT" not in (status.read_text() if status.exists() else ""):
            assert self.process.is_alive(), f"it ended before it could be stopped: {self.ended()}"
            assert time.monotonic() < deadline, "it hangs"
            time.sleep(0.005)

    def go_on(self) -> None:
        """After a SIGSTOP."""
        assert self.process.pid
        os.kill(self.process.pid, signal.SIGCONT)

    def ended(self) -> Ended:
        """Wait for its end."""
        parts = []
        while self._said.poll(_PATIENCE):
            if not (part := os.read(self._said.fileno(), 1 << 16)):
                break
            parts.append(part)
        self.process.join(_PATIENCE)
        said, _, told = b"".join(parts).decode().partition("\0")
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"it hangs: {said}")
        return Ended(self.process.exitcode, said, **json.loads(told or "{}"))


def warm() -> BaseContext:
    """A context whose processes begin with everything imported (what cannot be is left to the command)."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


def run(
    context: BaseContext, home: Path, arguments: Sequence[str], fault: Fault | None = None
) -> Ended:
    """A command from its beginning to its end."""
    return Running(context, home, arguments, fault).ended()


def run_on_own_disk(
    context: BaseContext, home: Path, runs: Sequence[tuple[str, Sequence[str]]], keep: Path
) -> list[Ended] | None:
    """Commands one after another where ``home`` is a file system by itself, in memory, that nobody else sees.

    Args:
        context: how processes are started.
        home: where that file system is mounted.
        runs: before each command the file system is mounted again with these options (``size=64k``; ``ro``).
        keep: a folder that what is in it at the end is copied to.

    Returns:
        How each ended; None if mounts are not allowed here.
    """
    told, tell = context.Pipe(duplex=False)
    made: Any = context
    process = made.Process(target=_mounted, args=(home, runs, keep, tell))
    process.start()
    tell.close()
    found = told.recv() if told.poll(_PATIENCE * len(runs)) else None
    process.join(_PATIENCE)
    assert process.exitcode == 0
    return found


def _mounted(
    home: Path, runs: Sequence[tuple[str, Sequence[str]]], keep: Path, tell: Connection
) -> None:
    """The life of the process that has the file system."""
    alone = (
        sys.platform == "linux"
        and not ctypes.CDLL(None).unshare(_NEW_MOUNTS)
        and _mount("--make-rprivate", "/")
    )
    if not alone or not _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(home)):
        return tell.send(None)
    ended = []
    for options, arguments in runs:
        assert _mount("-o", f"remount,rw,{options}", str(home))
        ended.append(run(multiprocessing.get_context("fork"), home, arguments))
    shutil.copytree(home, keep)
    return tell.send(ended)


def _mount(*arguments: str) -> bool:
    return (
        subprocess.run(["mount", *arguments], stderr=subprocess.DEVNULL, check=False).returncode
        == 0
    )


def _live(home: Path, arguments: list[str], fault: Fault, said: Connection) -> None:
    """The life of a command."""
    from experiments import cli

    with open(os.devnull, "w") as nothing:
        for number, name, at in ((1, "stdout", nothing.fileno()), (2, "stderr", said.fileno())):
            os.dup2(at, number)
            setattr(
                sys,
                name,
                os.fdopen(number, "w", buffering=1, errors="backslashreplace", closefd=False),
            )
    said.close()
    os.environ["METABRIDGE_CACHE"] = str(home / "cache")
    if fault.largest:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.largest, fault.largest))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fault.deadly else signal.SIG_IGN)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell has its background jobs ignore it
    steps = _count_steps()
    _hurry_the_clock()
    touched = _watch(home, fault)
    code = 1
    try:
        cli.main(arguments)
    except SystemExit as stop:
        code = stop.code
    print("\0" + json.dumps({"touched": touched, "steps": len(steps)}), file=sys.stderr, flush=True)
    sys.exit(code)


def _watch(home: Path, fault: Fault) -> list[str]:
    """All touches of the disk in ``home`` from now on; the fault comes before one of them."""
    touched: list[str] = []
    place = str(home)

    def hear(event: str, about: tuple[Any, ...]) -> None:
        changes = about[2] & _WRITES if event == "open" else event in _CHANGES
        if not changes or not isinstance(about[0], str | os.PathLike):
            return
        path = os.fspath(about[0])
        if not path.startswith(place):
            return
        touched.append(f"{event} {path.removeprefix(place)}")
        if fault.signal and len(touched) == fault.at:
            os.kill(os.getpid(), fault.signal)

    sys.addaudithook(hear)
    return touched


def _count_steps() -> list[None]:
    """One more entry with every step of a simulator."""
    counted: list[None] = []

    def counting(step: Any) -> Any:
        def count(*arguments: Any, **options: Any) -> Any:
            counted.append(None)
            return step(*arguments, **options)

        return count

    for family in FAMILIES.values():
        setattr(family, "step", counting(family.step))  # noqa: B010 - a plain assignment is no method to a type checker
    return counted


def _hurry_the_clock() -> None:
    """Let hours pass in a run of a second, so that it writes checkpoints between its first update and its last one."""
    clock, read = time.monotonic, 0

    def hurried() -> float:
        nonlocal read
        read += 1
        return clock() + _HURRY * read

    setattr(time, "monotonic", hurried)  # noqa: B010 - a plain assignment is refused by a type checker
