"""The noise of trials: what the environment draws from, and what an agent draws from, by roots of their own.

An agent is given ``Rows`` to draw from, and whoever holds ``Rows`` can name any place in their stream. So the agent's
root is hashed from the seed one way (``Rows.of(seed, ids, "agent")``): nothing that an agent is given leads to what its
environment will draw, or to the number of its task. Seeds are no secrets, though: who knows or guesses the seed and the
trial's number can make both roots, as anybody can who repeats an evaluation. ``conformance`` looks for agents that do.

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
        env: what the environment draws from, and what numbers tasks; no agent sees it.
        agent: what whoever plays draws from.
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
        """Where draws appear."""
        return self.env.device

    def __getitem__(self, index: slice | Tensor) -> TrialNoise:
        """The noise of some of the trials."""
        return TrialNoise(self.env[index], self.agent[index])

    def at(self, *names: str | int | Int[Tensor, " B"]) -> TrialNoise:
        """The same place in both streams."""
        return TrialNoise(self.env.at(*names), self.agent.at(*names))

    def fork(self, copies: int) -> TrialNoise:
        """Each trial ``copies`` times, each copy with noise of its own, side by side: ``[B*copies]``."""
        return TrialNoise(self.env.fork(copies), self.agent.fork(copies))
