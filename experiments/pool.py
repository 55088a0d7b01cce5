"""Independent jobs, in a process for each core if there is enough work."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from bridge import interrupts, user_code
from bridge.errors import UserError
from bridge.training.workers import end_with_parent
from experiments.progress import Progress
from experiments.threads import threads_for

_WORTH_PROCESSES = 20_000_000
"""Environment steps of play by references that are worth a process for each core (two seconds each)."""
_NETWORK = 50
"""Time of a step of a network, in steps of play by a reference."""
_TRAINING = 20
"""Time of a training step, in steps of play."""
_READING = 100_000
"""Time of a step of a language model, in steps of play by a reference."""


class Job(Protocol):
    """Work that can be sent to a process."""

    @property
    def name(self) -> str:
        """The name in progress and errors."""
        ...

    @property
    def env_steps(self) -> int:
        """Environment steps of its work."""
        ...

    @property
    def learns(self) -> bool:
        """True if it trains something."""
        ...

    @property
    def by_network(self) -> bool:
        """True if no reference decides."""
        ...

    @property
    def reads_text(self) -> bool:
        """True if a language model decides."""
        ...

    def run(self, advance: Callable[[int], None]) -> None:
        """Do it; call ``advance`` with environment steps as they are taken."""
        ...


J = TypeVar("J", bound=Job)


def each(jobs: Sequence[J], progress: Progress) -> Iterator[tuple[J, Exception | None]]:
    """Yield each job as it ends, with its error if it failed (the traceback is a note of it).

    Raises:
        KeyboardInterrupt: this process or one of the workers was interrupted; then all stop.
        UserError: a worker is gone.
    """
    workers = min(os.cpu_count() or 1, len(jobs))
    if workers < 2 or sum(map(_work_of, jobs)) < _WORTH_PROCESSES:
        for number, job in enumerate(jobs, 1):
            progress.describe(f"[{number}/{len(jobs)}] {job.name}")
            with threads_for(job.reads_text):
                error = _attempt(job, progress.advance)
            yield job, error
        return
    context = multiprocessing.get_context(
        "spawn"
    )  # a fork would copy torch's and pyarrow's threads in whatever state
    count, stop = context.Value("q", 0), context.Event()
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(count, stop)
    )
    with (
        interrupts.asked_to_stop() as asked
    ):  # an interrupt that breaks into a wait may leave its lock in disorder
        try:
            with interrupts.held():
                job_of = {pool.submit(_work, job): job for job in jobs}
            waiting = set(job_of)
            while waiting:
                progress.what = f"[{len(jobs) - len(waiting)}/{len(jobs)} done]"
                ended, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                progress.advance(count.value - progress.count)
                if asked():
                    raise KeyboardInterrupt
                for future in ended:
                    error = future.exception() or future.result()
                    if isinstance(error, BrokenProcessPool):
                        raise UserError(
                            "A worker process was ended from outside: perhaps memory ran out. What was finished is "
                            "kept; run the same command again to go on."
                        )
                    if error is not None and not isinstance(error, Exception):
                        raise error
                    yield job_of[future], error
        except BaseException:
            stop.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _work_of(job: Job) -> int:
    """The time of a job, in steps of play by references."""
    slower = _READING if job.reads_text else _NETWORK if job.by_network else 1
    return job.env_steps * (_TRAINING if job.learns else 1) * slower


def _attempt(job: Job, advance: Callable[[int], None]) -> Exception | None:
    """Do a job; return its error, with the traceback as a note (which outlives pickling)."""
    try:
        job.run(advance)
    except Exception as error:
        told = UserError(user_code.described(error)) if user_code.is_at_fault(error) else error
        told.add_note("".join(traceback.format_exception(error)))
        return told
    return None


def _start_worker(count: Any, stop: Any) -> None:
    """Prepare a worker process: one torch thread, a counter of steps and an event to stop."""
    import torch

    global _count, _stop
    _count, _stop = count, stop
    torch.set_num_threads(1)
    end_with_parent()
    interrupts.take(_hear)


_count: Any = None
_stop: Any = None
_asked = False
"""True once this worker has had an interrupt itself. The parent has the same one, but perhaps later."""


def _hear(_number: int = 0, _frame: Any = None) -> None:
    global _asked
    _asked = True


def _work(job: Job) -> Exception | None:
    def advance(steps: int) -> None:
        if _asked or _stop.is_set():
            raise KeyboardInterrupt
        with _count.get_lock():
            _count.value += steps

    advance(0)
    try:
        return _attempt(job, advance)
    except KeyboardInterrupt:
        _hear()  # a training hears interrupts in our stead; the next job is not begun
        raise
