"""Families and agents small enough that what they earn can be kept in books by hand.

In ``Echo`` a reward is the action itself, so an agent that knows what it wants to earn writes the expected sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete, Outcome, TaskFamily, Tasks, device_zeros

K, H = 3, 4
"""Episodes of a trial, and their most steps."""


@dataclass(frozen=True, kw_only=True)
class Echo(TaskFamily):
    """Pays the action; three episodes of four steps."""

    size: int = 0
    """Distinct tasks (0: a continuum)."""

    name: ClassVar[str] = "echo"
    axes: ClassVar[dict] = {}
    observation: ClassVar[Any] = Discrete(H + 1)
    action: ClassVar[Any] = Box((-1e6,), (1e6,))

    def _support(self, split: Any) -> int | None:
        return self.size or None

    def _sample(self, split: Any, index: Tensor, noise: Rows) -> dict[str, Tensor]:
        return {"number": index}

    def trial(self, split: str) -> Trial:
        return Trial(K, H)

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Tensor, Tensor]:
        clock = device_zeros(tasks)
        return clock, clock

    def step(self, tasks: Tasks, state: Tensor, action: Tensor, noise: Rows) -> Outcome:
        return Outcome(state + 1, state + 1, action[:, 0])

    def optimal_return(self, tasks: Tasks, trial: Trial) -> Tensor:
        return 1000.0 + tasks.index


@dataclass(frozen=True, kw_only=True)
class Brief(Echo):
    """Ends after 1 to 4 steps, by task; every other task succeeds with an action of 100 or more."""

    name: ClassVar[str] = "brief"
    ends_early: ClassVar[bool] = True

    def step(self, tasks: Tasks, state: Tensor, action: Tensor, noise: Rows) -> Outcome:
        outcome = super().step(tasks, state, action, noise)
        return outcome._replace(terminated=outcome.state > tasks.params["number"] % H)

    def success(self, tasks: Tasks, step: Step) -> Tensor:
        return (step.action[:, 0] >= 100) & (tasks.params["number"] % 2 == 0)


class Clerk:
    """Earns what ``wage(task, episode, step)`` says, and logs every call."""

    def __init__(self, wage: Callable[[Tensor, int, int], Tensor]) -> None:
        self.wage = wage
        self.card = Card(method="clerk", clue="task", reference=True, exact_reference="exact")
        self.log: list[tuple] = []

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> dict[str, Tensor]:
        self.log.append(("start", trial))
        return {"number": clues.task.index, "steps": torch.zeros_like(clues.task.index)}

    def begin(self, memory: Any, rng: Rows, *, episode: int) -> Any:
        self.log.append(("begin", episode))
        self.episode = episode
        return memory

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        self.log.append(("act", explore))
        return Decision(self.wage(memory["number"], self.episode, int(obs.max())).float()[:, None])

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        self.log.append(("observe",))
        memory["steps"] += (
            1 if step.live is None else step.live.long()
        )  # in place: a memory handed over is consumed
        return memory

    def adapt(self, memory: Any, rng: Rows, *, episode: int, last: bool) -> Any:
        self.log.append(("adapt", episode, last))
        return memory

    def calls(self, *names: str) -> list[tuple]:
        return [call for call in self.log if call[0] in names]


class Counter(Clerk):
    """Acts the number of steps that it has seen in this trial."""

    def __init__(self) -> None:
        super().__init__(lambda number, episode, step: number)

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        return Decision(memory["steps"].float()[:, None])


def wage(number: Tensor, episode: int, step: int) -> Tensor:
    return number + 10 * episode + 100 * step


def earned(task: int, episode: int, steps: int = H) -> int:
    return sum(task + 10 * episode + 100 * step for step in range(steps))
