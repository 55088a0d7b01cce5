"""The plan of an evaluation: which split is played, by how many trials, on which track.

Nothing here imports torch, so that a command line can be built from ``Plan`` quickly.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from bridge.errors import UserError

if TYPE_CHECKING:
    from bridge.protocol import Trial
    from bridge.tasks.base import TaskFamily

Track = Literal["O", "C", "F"]
"""O: own exploration; C: a common context, then frozen; F: free adaptation, then frozen."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A split, a number of trials, and a track."""

    split: str = "id"
    trials: int = 1000
    track: Track = "O"
    eval_seed: int = 0
    """Seed of the environment's and the agents' noise; the same for all methods and training seeds."""
    trials_per_task: int = 0
    """Trials that share a task. 0: one trial a task if tasks are drawn from a continuum, equal shares of the trials if
    they are a finite list."""
    shots: int = 0
    """Tracks C and F: number of episodes of the context, or of adaptation. 0: as many as the trial has."""
    left_out: tuple[int, ...] = ()
    """Tasks of a finite list that are not played because an agent was fine-tuned on them."""

    def __post_init__(self) -> None:
        if self.track not in ("O", "C", "F"):
            raise UserError(
                f"The tracks are O (own exploration), C (common context) and F (free), found {self.track!r}."
            )
        if self.trials < 1:
            raise UserError(f"trials must be 1 or more, found {self.trials}.")
        if self.trials_per_task and self.trials < 2 * self.trials_per_task:
            raise UserError(
                f"trials={self.trials} at trials_per_task={self.trials_per_task} makes one task. Raise trials."
            )
        if self.trials_per_task < 0 or self.shots < 0:
            raise UserError(
                f"trials_per_task and shots cannot be negative: {self.trials_per_task}, {self.shots}."
            )

    @property
    def hash(self) -> str:
        """Eight hex digits of how trials are played, whatever the split and the tasks left out of it."""
        values = asdict(self)
        del values["split"], values["left_out"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]

    def trial(self, family: TaskFamily) -> Trial:
        """Episodes and steps of a trial. On tracks C and F the episodes are the shots; scored episodes come on top.

        Raises:
            UserError: the plan has more shots than a trial of ``family`` has episodes.
        """
        trial = family.trial(self.split)
        if self.track == "O":
            return trial
        if self.shots > trial.episodes:
            raise UserError(
                f"shots={self.shots} is more than the {trial.episodes} episodes that a trial of {family.id} has."
            )
        return trial._replace(episodes=self.shots or trial.episodes)

    def curve_points(self, family: TaskFamily) -> tuple[int, ...]:
        """The numbers of episodes after which results are kept.

        Raises:
            UserError: as ``trial``.
        """
        trial = self.trial(family)
        return family.curve_points(trial) if self.track == "O" else shot_points(trial.episodes)


def shot_points(shots: int) -> tuple[int, ...]:
    """The numbers of shots after which a frozen episode is scored on tracks C and F: 0, 1, 2, 4, ..., ``shots``."""
    return (0, *sorted({*(1 << k for k in range(shots.bit_length())), shots}))
