"""The noise of trials: separate streams of random numbers for the environment and for the agent.

An agent draws from ``Rows``, by which any place of their stream can be read. So the agent's root is a one-way hash of
the seed (``Rows.of(seed, ids, "agent")``): it leads neither to the environment's draws nor to the number of the task.
Seeds are no secrets, though: code that knows or guesses the seed and the trial's number can make both roots, as every
repetition of an evaluation does. ``bridge.conformance`` looks for agents that do.

Shape letters: B trials.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from bridge.rng import Rows


@dataclass(frozen=True, eq=False)
class TrialNoise:
    """The noise of B trials.

    Attributes:
        env: noise of the environment and of the tasks' numbers; no agent sees it.
        agent: noise of the agent that plays.
    """

    env: Rows
    agent: Rows

    @classmethod
    def of(cls, seed: int | str, ids: Int[Tensor, " B"]) -> TrialNoise:
        """The noise of trials ``ids`` (non-negative integers) in the stream ``seed``."""
        return cls(Rows.of(seed, ids), Rows.of(seed, ids, "agent"))

    def __len__(self) -> int:
        return len(self.env)

    @property
    def device(self) -> torch.device:
        """Device of the draws."""
        return self.env.device

    def __getitem__(self, index: slice | Tensor) -> TrialNoise:
        """The noise of some of the trials."""
        return TrialNoise(self.env[index], self.agent[index])

    def at(self, *names: str | int | Int[Tensor, " B"]) -> TrialNoise:
        """The place called ``names`` in both streams."""
        return TrialNoise(self.env.at(*names), self.agent.at(*names))

    def fork(self, copies: int) -> TrialNoise:
        """Each trial ``copies`` times, each copy with noise of its own, side by side: ``[B*copies]``."""
        return TrialNoise(self.env.fork(copies), self.agent.fork(copies))
