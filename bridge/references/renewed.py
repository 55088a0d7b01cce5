"""An oracle of tasks that change within a trial: it is given each episode's task at the episode's start."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from bridge.protocol import Agent, Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily, Tasks


class Memory(NamedTuple):
    """The trials' tasks and the oracle's own memory."""

    tasks: Tasks
    oracle: Any


class Renewed:
    """An oracle that starts again with each episode's task; its memory holds nothing else that matters.

    Args:
        oracle: the oracle of a single task.
        family: the family.
        split: a split of the axis ``changes``.
    """

    def __init__(self, oracle: Agent, family: TaskFamily, split: str) -> None:
        self.oracle, self.family, self.trial = oracle, family, family.trial(split)
        self.card: Card = oracle.card

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        return Memory(clues.task, self.oracle.start(clues, trial, rng))

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        now = Clues(task=self.family.task_of(memory.tasks, episode))
        oracle = self.oracle.start(now, self.trial, rng.at("start"))
        return memory._replace(oracle=self.oracle.begin(oracle, rng, episode=episode))

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        return self.oracle.act(memory.oracle, obs, rng, explore=explore)

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        return memory._replace(oracle=self.oracle.observe(memory.oracle, step))

    def adapt(self, memory: Memory, rng: Rows, *, episode: int, last: bool) -> Memory:
        return memory
