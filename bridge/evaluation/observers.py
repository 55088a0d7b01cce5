"""Observers of an evaluation: they see every step that an agent explores by.

Shape letters: B trials.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from bridge.protocol import Step

DETAILED_TRIALS = 256
"""Number of the first trials of a split whose steps are kept by default; all trials are kept as sums."""


@runtime_checkable
class Observer(Protocol):
    """Sees the steps that are played to explore: all of track O, and the shots of track F, but no scored episode."""

    def on_step(self, trials: Int[Tensor, " B"], episode: int, t: int, step: Step) -> None:
        """Called with the ascending numbers of the trials that are played together, and a step of one episode."""
        ...

    def rows(self) -> dict[str, np.ndarray]:
        """The observations so far by column, one entry a row; no column if there is no row."""
        ...


class StepDetail:
    """The steps of the first trials. Rows that idle after the end of their episode make none.

    Args:
        trials: the number of trials whose steps are kept.
    """

    def __init__(self, trials: int = DETAILED_TRIALS) -> None:
        self.trials = trials
        self._steps: list[tuple[Tensor, int, int, Tensor, Tensor]] = []

    def on_step(self, trials: Int[Tensor, " B"], episode: int, t: int, step: Step) -> None:
        """Keep the step of those of ``trials``, whose numbers ascend, that are among the first."""
        first = slice(self.trials)  # no later row can be among them: large chunks stay cheap
        kept = trials[first] < self.trials
        if step.live is not None:
            kept &= step.live[first]
        if bool(kept.any()):
            action, reward = step.action[first][kept], step.reward[first][kept]
            self._steps.append((trials[first][kept], episode, t, action, reward))

    def rows(self) -> dict[str, np.ndarray]:
        """One row a transition: ``trial``, ``episode``, ``step``, ``action``, ``reward``."""
        if not self._steps:
            return {}
        trial, episode, step, action, reward = zip(*self._steps, strict=True)
        counts = [len(trials) for trials in trial]
        return {
            "trial": torch.cat(trial).cpu().numpy(),
            "episode": np.repeat(np.array(episode), counts),
            "step": np.repeat(np.array(step), counts),
            "action": torch.cat(action).cpu().numpy(),
            "reward": torch.cat(reward).cpu().numpy(),
        }
