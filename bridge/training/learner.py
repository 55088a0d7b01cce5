"""What learners have in common besides the contract: counters, a state made of their parts', first weights by seed."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch

_COUNTERS = ("env_steps", "grad_steps", "updates")


class CheckpointedLearner:
    """The base of a learner whose state is that of its parts, and its counters; all its noise is counted by these."""

    checkpointed: ClassVar[tuple[str, ...]]
    """Attributes with a state of their own: networks, optimisers, statistics."""

    env_steps: int = 0
    """Environment steps paid for so far."""
    grad_steps: int = 0
    """Steps of optimisers so far."""
    updates: int = 0
    """Calls of ``update`` so far."""

    def state_dict(self) -> dict[str, Any]:
        """All that a restart needs, bit for bit: there is no generator to save."""
        parts = {name: getattr(self, name).state_dict() for name in self.checkpointed}
        return parts | {name: getattr(self, name) for name in _COUNTERS}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        for name in self.checkpointed:
            getattr(self, name).load_state_dict(state[name])
        for name in _COUNTERS:
            setattr(self, name, state[name])


@contextmanager
def seeded_init(seed: int) -> Generator[None]:
    """Where networks are made: torch draws from its own generator, set by ``seed``, and nobody outside sees it."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield
