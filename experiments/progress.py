"""Progress on whatever takes more than two seconds: a live bar on a terminal, plain lines elsewhere.

The first word comes after these two seconds even if the work has not reported anything by then.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from experiments.terminal import console

_PATIENCE = 2.0
"""Seconds before the first word about progress."""
_EVERY = 10.0
"""Seconds between plain lines."""


class Progress:
    """Counts units of work (environment steps), with their rate and the time left. Writes to standard error."""

    def __init__(self, total: int, unit: str) -> None:
        self.total, self.unit, self.count, self.what = total, unit, 0, ""
        self.skipped: int | None = None
        self.ended = False
        self.began = self.spoke = time.monotonic()
        self._bar = None
        self._speaking = threading.RLock()
        self._first = threading.Timer(_PATIENCE, self._speak)
        self._first.daemon = True

    def __enter__(self) -> Progress:
        self._first.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._first.cancel()
        with self._speaking:
            self.ended = True
            if self._bar:
                self._bar.stop()

    def describe(self, what: str) -> None:
        """Describe the current work."""
        self.what = what
        self.advance(0)

    def advance(self, count: int) -> None:
        """Add work done."""
        self.count += count
        if time.monotonic() - self.began >= _PATIENCE:
            self._speak()

    def _speak(self) -> None:
        """Print the progress if it is time to."""
        now = time.monotonic()
        with self._speaking:
            if self.ended:
                return
            if sys.stderr.isatty():
                self._live()
            elif now - self.spoke > _EVERY or self.spoke == self.began:
                self.spoke = now
                rate = self._rate()
                left = f"{(self.total - self.count) / rate:.0f} s left" if rate else "time unknown"
                print(
                    f"{self.what}: {self.count / max(self.total, 1):.0%} of {self.total:,} {self.unit}, "
                    f"{rate:,.0f}/s, {left}",
                    file=sys.stderr,
                    flush=True,
                )

    def reach(self, count: int) -> None:
        """Set the work done so far. The first call sets what was done before, which counts for no rate."""
        if self.skipped is None:
            self.skipped = count
        self.advance(count - self.count)

    def _rate(self) -> float:
        """Units a second since this began."""
        return (self.count - (self.skipped or 0)) / max(time.monotonic() - self.began, 1e-9)

    def print(self, text: str) -> None:
        """A line that stays."""
        if self._bar:
            self._bar.console.print(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def _live(self) -> None:
        if self._bar is None:
            from rich import progress as rich_progress

            self._bar = rich_progress.Progress(
                rich_progress.TextColumn("{task.description}", markup=False),
                rich_progress.BarColumn(),
                rich_progress.TaskProgressColumn(),
                rich_progress.TextColumn("{task.fields[rate]}"),
                rich_progress.TimeRemainingColumn(),
                console=console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(self.what, total=self.total, rate="")
            self._bar.start()
        rate = self._rate()
        self._bar.update(
            self._task,
            completed=self.count,
            description=self.what,
            rate=f"{rate:,.0f} {self.unit}/s",
        )
