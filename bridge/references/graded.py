"""Demonstrations of any quality: the oracle's play with a share of random actions, for track C (``context_quality``).

Shape letters: B trials.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge import memory as tree
from bridge.config import Share, check_bound
from bridge.protocol import Clues, Decision, Step, Trial
from bridge.references.base import Reference, reference_card
from bridge.references.oracles import oracle
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily


class Graded(Reference):
    """The oracle's play, with random actions instead at a given rate.

    Its memory is the oracle's.

    Args:
        family: the family.
        split: the split.
        noise: probability of a uniformly random action.
    """

    card = reference_card("graded", "heuristic", clue="task")

    def __init__(self, family: TaskFamily, split: str, noise: Share = 0.5) -> None:
        check_bound("graded", "from 0 to 1", noise=noise)
        self.oracle: Any = oracle(family, split)
        self.random, self.noise = Random(family, split), noise

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Any:
        return self.oracle.start(clues, trial, rng)

    def begin(self, memory: Any, rng: Rows, *, episode: int) -> Any:
        return self.oracle.begin(memory, rng, episode=episode)

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        best = self.oracle.act(memory, obs, rng.at("best"), explore=explore).action
        other = self.random.act(memory, obs, rng.at("other"), explore=explore).action
        return Decision(tree.where(rng.at("noise").uniform() < self.noise, other, best))

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        return self.oracle.observe(memory, step)
