"""Independent jobs, one process a core where the work is worth starting them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any, Protocol, TypeVar

from experiments.progress import Progress

_WORTH_PROCESSES = 20_000_000
"""Environment steps from which on starting a process a core (two seconds each) pays."""


class Job(Protocol):
    """Something to do that can be sent to a process."""

    @property
    def name(self) -> str:
        """How progress and errors call it."""
        ...

    @property
    def env_steps(self) -> int:
        """How much work it is."""
        ...

    def run(self, advance: Callable[[int], None]) -> None:
        """Do it, telling how many environment steps were taken on the way."""
        ...


J = TypeVar("J", bound=Job)


def each(jobs: Sequence[J], progress: Progress) -> Iterator[tuple[J, Exception | None]]:
    """Each job as it ends, with its error if it failed (the traceback is a note of it)."""
    workers = min(os.cpu_count() or 1, len(jobs))
    if workers < 2 or sum(job.env_steps for job in jobs) < _WORTH_PROCESSES:
        for number, job in enumerate(jobs, 1):
            progress.describe(f"[{number}/{len(jobs)}] {job.name}")
            yield job, _attempt(job, progress.advance)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads and duckdb's locks
    count = context.Value("q", 0)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(count,)) as pool:
        try:
            job_of = {pool.submit(_work, job): job for job in jobs}
            waiting = set(job_of)
            while waiting:
                progress.what = f"[{len(jobs) - len(waiting)}/{len(jobs)} done]"
                ended, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                progress.advance(count.value - progress.count)
                for future in ended:
                    yield job_of[future], future.exception() or future.result()  # ty: ignore[invalid-yield]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _attempt(job: Job, advance: Callable[[int], None]) -> Exception | None:
    """Do a job; its error as a value, with the traceback as a note (which outlives pickling)."""
    try:
        job.run(advance)
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        return error
    return None


def _start_worker(count: Any) -> None:
    """Prepare a worker process: one torch thread, Ctrl-C left to the parent, and the shared counter of steps."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _count
    _count = count


_count: Any = None


def _work(job: Job) -> Exception | None:
    def advance(steps: int) -> None:
        with _count.get_lock():
            _count.value += steps

    return _attempt(job, advance)
