"""The processes that train one learner together: Accelerate behind the few calls that a learner needs.

Every process holds the whole learner, plays its share of the trials and averages its gradients with those of the
others, so that all stay bitwise equal. A learner without workers trains alone, and Accelerate is not imported.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn

from bridge import interrupts, user_code
from bridge.errors import DivergenceError, UserError
from bridge.words import counted

if TYPE_CHECKING:
    from accelerate import Accelerator

Precision = Literal["no", "bf16"]
"""Precision of activations in training; weights and optimisers stay float32. (fp16 would need a loss scale.)"""


class Workers:
    """One of the processes that train together.

    Attributes:
        count: number of processes.
        index: number of this process.
        device: device of this process.
    """

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        self._accelerator = accelerator
        self.count = accelerator.num_processes if accelerator else 1
        self.index = accelerator.process_index if accelerator else 0
        self.device = accelerator.device if accelerator else torch.device("cpu")

    def rows(self, update: int, count: int) -> Int[Tensor, " n"]:
        """The numbers of the ``count`` rows that this process alone plays in an update, never used before."""
        first = (update * self.count + self.index) * count
        return torch.arange(first, first + count, device=self.device)

    def mean(self, value: Tensor) -> Tensor:
        """The average of a tensor over the processes.

        Raises:
            UserError: one of them has ended.
        """
        if self._accelerator is None or self.count == 1:
            return value
        try:
            return self._accelerator.reduce(value, "mean")
        except RuntimeError as error:
            raise UserError(
                f"A process of this training ended ({str(error).splitlines()[0]}). Go on from the last checkpoint with "
                "--resume."
            ) from error

    def total(self, mine: Int[Tensor, ""]) -> int:
        """A whole number, summed over the processes."""
        return round(self.mean(mine.double()).item() * self.count)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its average over the processes, in one exchange."""
        if self.count == 1:
            return
        grads = [p.grad for p in parameters if p.grad is not None]
        mean = self.mean(torch.cat([grad.flatten() for grad in grads]))
        for grad, part in zip(grads, mean.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    def autocast(self) -> AbstractContextManager[Any]:
        """A context in which the forward pass has the precision of this training."""
        return self._accelerator.autocast() if self._accelerator else nullcontext()

    def log(self, values: dict[str, float | int], step: int) -> None:
        """Log to the tracker, if there is one."""
        if self._accelerator is None or not self._accelerator.log_with:
            return
        if not self._accelerator.trackers:
            self._accelerator.init_trackers("tracker")
        self._accelerator.log(values, step=step)


@contextmanager
def joined(
    *, device: str = "cpu", precision: Precision = "no", tracker: str = "", folder: str = ""
) -> Generator[Workers]:
    """This process as one of the workers that ``torchrun``'s environment variables describe, or alone.

    Args:
        device: ``cpu``, or ``cuda`` for the device of this process.
        precision: precision of activations in training.
        tracker: ``tensorboard`` or another tracker of Accelerate; empty: none.
        folder: folder of the tracker's files.

    Raises:
        UserError: there is no such device, precision or tracker here.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.tracking import get_available_trackers

    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device == "cuda" and torch.cuda.device_count() < processes:
        raise UserError(
            f"--device cuda needs {counted(processes, 'CUDA device')}, one a process; torch finds "
            f"{torch.cuda.device_count()} here. Use --device cpu, or fewer --processes."
        )
    known = [str(getattr(name, "value", name)) for name in get_available_trackers()]
    if tracker and tracker not in known:
        raise UserError(
            f"The tracker {tracker!r} is not installed here; there is: {', '.join(known) or 'none'}. Install its "
            "package (pip install tensorboard), or leave --tracker out."
        )
    threads = torch.get_num_threads()  # Accelerate changes it if several processes share a machine
    try:
        accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision=precision,
            log_with=tracker or None,
            project_dir=folder or None,
        )
    except ValueError as error:
        raise UserError(f"--precision {precision} --device {device}: {error}") from None
    torch.set_num_threads(threads)
    try:
        yield Workers(accelerator)
    finally:
        accelerator.end_training()
        # Another training of this process may have other settings.
        AcceleratorState._reset_state(reset_partial_state=True)


@contextmanager
def helpers(count: int, work: Callable[..., Any], *args: Any) -> Generator[None]:
    """Run ``work(*args)`` in ``count - 1`` more processes. In ``joined`` they and this one find each other.

    They end when ``work`` ends, and with this process, whatever ends it. Only this process handles signals to
    stop; the others learn of them from its metrics.

    Raises:
        UserError: one of them could not start.
    """
    if count == 1:
        yield
        return
    context = torch.multiprocessing.get_context("spawn")
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    mine, *theirs = (
        {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)
    )
    before = dict(os.environ)
    ready = [context.Event() for _ in theirs]
    started = [
        context.Process(target=_help, args=(env, event, work, args), daemon=True)
        for env, event in zip(theirs, ready, strict=True)
    ]
    try:
        with interrupts.held():
            for process in started:
                process.start()
        os.environ.update(mine)
        for process, event in zip(started, ready, strict=True):
            while not event.wait(0.05):
                if process.exitcode is not None:
                    raise UserError(
                        f"A process of this training ended as it started (exit code {process.exitcode}); its output is "
                        "above. Try --processes 1."
                    )
        yield
    finally:
        for process in (process for process in started if process.pid):
            # At its next exchange it finds the others gone, and then prints its own error.
            process.join(timeout=5)
            process.kill()
        os.environ.clear()
        os.environ.update(before)


def end_with_parent() -> None:
    """End this process when the one that started it ends, for whatever reason."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _help(env: dict[str, str], ready: Any, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Run a helper process. Errors about the input come from the first process; any other is printed here."""
    os.environ.update(env)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    interrupts.take(signal.SIG_IGN)
    end_with_parent()
    torch.set_num_threads(1)
    ready.set()
    try:
        work(*args)
    except DivergenceError as error:  # unknown to the first process, which has not diverged
        sys.exit(f"Process {env['RANK']}: {error}")
    except UserError:
        sys.exit(1)
    except Exception as error:
        if not user_code.is_at_fault(error):
            raise
        sys.exit(f"Process {env['RANK']}: {user_code.described(error)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
