"""MiniGrid: the suites of tasks on which MOORE compares multi-task RL, simulated by the package ``minigrid``.

The tasks are those of Chevalier-Boisvert et al. 2023 (arXiv 2306.13831), the suites those of Hendawy et al. 2024 (arXiv
2311.11385): crossing lava, opening doors in order, remembering an object. Layouts are drawn anew for every episode. A
goal that is reached after t of at most T steps pays 1 - 0.9 t / T, and all else pays nothing.

An observation is the agent's view of 7 by 7 cells, as in MOORE: what stands in each cell, its colour and the state of a
door, one-hot. The compass direction and the mission, a sentence for each task, are not part of it. All tasks have
MiniGrid's seven actions, some of which do nothing.

Shape letters: B rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from bridge.config import Count, CountOrZero
from bridge.errors import UserError
from bridge.protocol import Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete, Split, Tasks
from bridge.tasks.from_gymnasium import FromGymnasium
from bridge.tasks.simulators import Setting

if TYPE_CHECKING:
    import gymnasium

LIMITS = {
    "DoorKey-6x6": 360,
    "DistShift1": 252,
    "LavaGapS7": 196,
    "MemoryS11": 605,
    "MultiRoom-N2-S4": 40,
    "RedBlueDoors-6x6": 720,
    "SimpleCrossingS9N2": 324,
}
"""Most steps of an episode, by environment."""
SUITES = {
    "mt3": ("LavaGapS7", "RedBlueDoors-6x6", "MemoryS11"),
    "mt5": ("DoorKey-6x6", "LavaGapS7", "RedBlueDoors-6x6", "DistShift1", "MemoryS11"),
    "mt7": (
        "DoorKey-6x6",
        "DistShift1",
        "RedBlueDoors-6x6",
        "LavaGapS7",
        "MemoryS11",
        "SimpleCrossingS9N2",
        "MultiRoom-N2-S4",
    ),
}
"""Environments of a suite."""
MOST = 10_000
"""Most steps of an episode that can be asked for: a state holds an action for each."""
ACTIONS = 7
VIEW = 7
"""Cells of the view, each way."""
KINDS = (11, 6, 3)
"""Numbers of things, of colours and of states."""


@dataclass(frozen=True, kw_only=True)
class MiniGrid(FromGymnasium):
    """Suites of MiniGrid tasks."""

    suite: Literal["mt3", "mt5", "mt7"] = "mt3"
    """Suite of tasks."""
    episodes: Count = 2
    """Episodes in a trial."""
    steps: CountOrZero = 0
    """Most steps of an episode, T; 0: those of each environment, 40 to 720."""

    name: ClassVar[str] = "minigrid"
    bytes_a_row: ClassVar[int] = 70_000
    """Measured: 50,000 to 70,000 for an environment."""

    def __post_init__(self) -> None:
        if self.steps > MOST:
            raise UserError(
                f"A MiniGrid episode has at most {MOST:,} steps; found steps={self.steps:,}. Lower it; 0 "
                "stands for each environment's own."
            )
        super().__post_init__()

    @property
    def environments(self) -> Sequence[str]:
        """The name of each environment."""
        return SUITES[self.suite]

    def signature(self) -> Any:
        return [(name, LIMITS[name]) for name in self.environments]

    def _support(self, split: Split) -> int:
        return len(self.environments)

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        """Task i of every split is environment i."""
        return {"environment": index}

    def setting(self, tasks: Tasks, row: int) -> Setting:
        return Setting(int(tasks.params["environment"][row]))

    def make(self, environment: int) -> gymnasium.Env:
        try:
            import gymnasium
            import minigrid  # noqa: F401 (it registers the environments)
        except ImportError as error:
            raise UserError(
                f"{self.id} needs minigrid ({error}). Install it: pip install 'metabridge[minigrid]'"
            ) from error
        limit = {"max_steps": self.steps} if self.steps else {}
        name = f"MiniGrid-{self.environments[environment]}-v0"
        return gymnasium.make(name, disable_env_checker=True, **limit)

    def trial(self, split: str) -> Trial:
        self.split(split)
        longest = max(LIMITS[name] for name in self.environments)
        return Trial(self.episodes, self.steps or longest)

    @property
    def observation(self) -> Box:
        """Entries are 0 or 1; with -1 as the lower bound they are their own features."""
        entries = VIEW * VIEW * sum(KINDS)
        return Box((-1.0,) * entries, (1.0,) * entries)

    @property
    def action(self) -> Discrete:
        return Discrete(ACTIONS)

    def observed(self, observations: Sequence[Any]) -> Float[Tensor, "B features"]:
        cells = torch.from_numpy(np.stack([each["image"] for each in observations])).long()
        columns = [one_hot(cells[..., i], count) for i, count in enumerate(KINDS)]
        return torch.cat(columns, -1).flatten(1).float()

    def optimal_return(self, tasks: Tasks, trial: Trial) -> Float[Tensor, " B"]:
        """Return 1, which nobody reaches: it is the reward of a goal that is reached in no time."""
        return torch.ones(len(tasks.index), device=tasks.index.device)

    def success(self, tasks: Tasks, step: Step) -> Bool[Tensor, " B"]:
        """True if the step pays: it reaches the goal."""
        return step.reward > 0
