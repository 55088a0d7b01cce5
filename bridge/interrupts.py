"""Ctrl-C and SIGTERM, heard where nothing is lost, and by every process of several."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

_STOPS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], None] | signal.Handlers


@contextmanager
def asked_to_stop() -> Generator[Callable[[], bool]]:
    """Within this Ctrl-C and SIGTERM break into nothing: they make the function true that it gives. A second one acts
    as it did before."""
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
    """Inside this context SIGTERM raises KeyboardInterrupt, as Ctrl-C does: every command names what is kept."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def held() -> Generator[None]:
    """Start processes within this: Ctrl-C waits until they ``take`` it, and does not break into their imports."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take(handler: Handler) -> None:
    """Handle Ctrl-C from now on, one that waits included, in a process that was started with it ``held``."""
    signal.signal(signal.SIGINT, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
