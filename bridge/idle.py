"""Verbs of an agent (``bridge/protocol.py``) that do nothing."""

from __future__ import annotations

from typing import Any

from bridge.protocol import Step
from bridge.rng import Rows


class Idle:
    """Leaves its memory as it is; agents override the verbs that they need."""

    def begin(self, memory: Any, rng: Rows, *, episode: int) -> Any:
        """The memory as it is."""
        return memory

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        """The memory as it is."""
        return memory

    def adapt(self, memory: Any, rng: Rows, *, episode: int, last: bool) -> Any:
        """The memory as it is."""
        return memory
