"""Demonstrations of any quality: the oracle's play, in which a share of the actions is random.

Nobody to compete with, but one who shows (track C, axis ``context_quality``): the share says how good the play is.

Shape letters: B trials.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bridge.errors import UserError
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.base import Reference
from bridge.references.oracles import ORACLES
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily


class Graded(Reference):
    """Its memory is the oracle's.

    Args:
        family: what is played.
        split: of it.
        noise: probability that an action is drawn evenly from all, in [0, 1].
    """

    def __init__(self, family: TaskFamily, split: str, noise: float = 0.5) -> None:
        if not 0 <= noise <= 1:
            raise UserError(
                f"graded needs noise from 0 (the oracle's play) to 1 (random play); found {noise}."
            )
        self.oracle = next(make for kind, make in ORACLES.items() if isinstance(family, kind))(
            family, split
        )
        self.random, self.noise = Random(family, split), noise
        self.card = Card(
            method="graded",
            reference=True,
            clue="task",
            supervision="prior",
            decode_rule="rule",
            exact_reference="heuristic",
        )

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Any:
        return self.oracle.start(clues, trial, rng)

    def begin(self, memory: Any, rng: Rows, *, episode: int) -> Any:
        return self.oracle.begin(memory, rng, episode=episode)

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """The oracle's action, or any."""
        best = self.oracle.act(memory, obs, rng.at("best"), explore=explore).action
        other = self.random.act(memory, obs, rng.at("other"), explore=explore).action
        drawn = rng.at("noise").uniform() < self.noise
        return Decision(torch.where(drawn.view(-1, *[1] * (best.dim() - 1)), other, best))

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        return self.oracle.observe(memory, step)
