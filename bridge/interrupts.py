"""Handling of Ctrl-C and SIGTERM without loss of work, in one or several processes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

_STOPS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], None] | signal.Handlers


@contextmanager
def asked_to_stop() -> Generator[Callable[[], bool]]:
    """Inside this context the first SIGINT or SIGTERM only sets a flag, which the yielded function returns.

    A second one acts as usual.
    """
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        for name in _STOPS:
            signal.signal(name, before[name])

    before = {name: signal.signal(name, ask) for name in _STOPS}
    try:
        yield lambda: bool(asked)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def sigterm_as_ctrl_c() -> Generator[None]:
    """Inside this context SIGTERM raises KeyboardInterrupt, as Ctrl-C does, for the commands to report what is kept."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def held() -> Generator[None]:
    """Inside this context processes start with Ctrl-C blocked, so that it cannot break their imports until ``take``."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take(handler: Handler) -> None:
    """Handle Ctrl-C by ``handler`` from now on, a pending one included, in a process that was started in ``held``."""
    signal.signal(signal.SIGINT, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
