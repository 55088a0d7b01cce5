"""The processes that train one learner together: Accelerate behind the few calls that a learner needs.

Every process holds the whole learner, plays its share of the trials and averages its gradients with the others', so
that all stay equal bit for bit. A learner that is given no workers is alone, and then Accelerate is not even imported.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from bridge.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator

Precision = Literal["no", "bf16"]
"""Of activations in training; weights and optimisers stay float32. (fp16 would need a loss scale to be restored.)"""


class Workers:
    """One of ``count`` processes that train together: number ``index``, on ``device``."""

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        self._accelerator = accelerator
        self.count = accelerator.num_processes if accelerator else 1
        self.index = accelerator.process_index if accelerator else 0
        self.device = accelerator.device if accelerator else torch.device("cpu")

    def mean(self, value: Tensor) -> Tensor:
        """The average of a tensor over the processes."""
        return self._accelerator.reduce(value, "mean") if self._accelerator and self.count > 1 else value

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its average over the processes, in one exchange."""
        if self.count == 1:
            return
        grads = [p.grad for p in parameters if p.grad is not None]
        mean = self.mean(torch.cat([grad.flatten() for grad in grads]))
        for grad, part in zip(grads, mean.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    def autocast(self) -> AbstractContextManager[Any]:
        """Where the forward pass runs in the precision that was asked for."""
        return self._accelerator.autocast() if self._accelerator else nullcontext()

    def log(self, values: dict[str, float | int], step: int) -> None:
        """Tell the trackers."""
        if self._accelerator:
            self._accelerator.log(values, step=step)


@contextmanager
def joined(
    *, device: str = "cpu", precision: Precision = "no", tracker: str = "", folder: str = ""
) -> Generator[Workers]:
    """This process as one of the workers that its environment names (``torchrun``'s variables), or alone.

    Args:
        device: ``cpu``, or ``cuda`` for whichever device of this machine is this process's.
        precision: of activations in training.
        tracker: ``tensorboard`` or any other that Accelerate knows; none where empty.
        folder: where the tracker writes.

    Raises:
        UserError: no such device or tracker here.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device here. Use --device cpu.")
    threads = torch.get_num_threads()  # Accelerate sets its own where several processes share a machine
    try:
        accelerator = Accelerator(
            cpu=device == "cpu", mixed_precision=precision, log_with=tracker or None, project_dir=folder or None
        )
        torch.set_num_threads(threads)
        if tracker:
            accelerator.init_trackers("tracker")
    except (ValueError, ImportError) as error:
        raise UserError(f"The tracker {tracker!r} cannot start: {error}. Is its package installed?") from None
    try:
        yield Workers(accelerator)
    finally:
        accelerator.end_training()
        AcceleratorState._reset_state(reset_partial_state=True)  # another training of this process may differ


@contextmanager
def helpers(count: int, work: Callable[..., Any], *args: Any) -> Generator[None]:
    """Run ``work(*args)`` in ``count - 1`` more processes, all of which (this one too) find each other in ``joined``.

    They end when ``work`` does, and with this process, whatever ends it. Signals that ask to stop are for this process
    alone to hear: it tells the others.
    """
    if count == 1:
        yield
        return
    context = torch.multiprocessing.get_context("spawn")
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(count)}
    common |= {"LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    mine, *theirs = ({**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count))
    before = dict(os.environ)
    started = [context.Process(target=_help, args=(env, os.getpid(), work, args), daemon=True) for env in theirs]
    for process in started:
        process.start()
    os.environ.update(mine)
    try:
        yield
        for process in started:
            process.join(timeout=10)
    except RuntimeError as error:
        for process in started:
            process.join(timeout=1)
        if all(process.exitcode is None for process in started):
            raise  # the others live: it is this process that failed
        raise UserError(f"A training process ended ({error}). Go on from the last checkpoint with --resume.") from error
    finally:
        for process in started:
            process.kill()
        os.environ.clear()
        os.environ.update(before)


def _help(env: dict[str, str], parent: int, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """A helper's life. Whatever stops it stopped the first process too, which reports it."""
    os.environ.update(env)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        work(*args)
    except Exception:
        sys.exit(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
