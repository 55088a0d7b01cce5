"""Specialists: a policy for each test task, trained by PPO on that task alone; together they stand for an oracle.

If nobody has solved the tasks, the best return that anyone has found is all that a score can be measured by. So the
specialists are trained on the test tasks themselves, ``tests=N`` of them on each split, and are given the task when
they play. They are a reference, not a method: no other agent may train on test tasks. Their returns are a lower bound
of the optimal ones, and another agent may earn more; scores are then above 1.

The tasks share nothing, each has as many episodes in every batch, and all get an equal part of the budget. PPO is
that of ``rl_algos/mtrl.py``.

Shape letters: N tasks of all splits, B trials.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from bridge import memory as tree
from bridge.config import Bounded, Count, Depth, Holds, NonNegative, Positive, Share, Width
from bridge.errors import UserError
from bridge.maths.baselines import Baseline
from bridge.noise import TrialNoise
from bridge.protocol import Agent, Card, Clues, Trial
from bridge.rng import Rows
from bridge.tasks import perception
from bridge.tasks.base import TaskFamily, Tasks
from bridge.training.learner import trained_card
from bridge.training.search_space import Space
from rl_algos import mtrl, per_task
from rl_algos.concerns.capacity import Network
from rl_algos.concerns.combiners import Combine
from rl_algos.per_task import Episodes
from rl_algos.task_table import Shared, TaskTable


@dataclass(frozen=True, kw_only=True)
class Config(Bounded):
    """Networks and training of the specialists."""

    display_name: ClassVar[str] = "Specialists"
    network: ClassVar[Network] = "mlp"
    experts: ClassVar[int] = 1
    shared: ClassVar[Shared] = "nothing"
    only: ClassVar[str] = ""
    hidden_ids: ClassVar[float] = 0.0
    weight_decay: ClassVar[float] = 0.0
    tasks_per_update: ClassVar[int] = 0
    advantages: ClassVar[Literal["standardised"]] = "standardised"
    combine: ClassVar[Combine] = "mean"
    weights: ClassVar[str] = ""

    splits: str = "id"
    """Splits whose test tasks have a specialist, joined by +: id+shift/mass/4."""
    hidden: Width = 64
    """Units of each hidden layer."""
    layers: Annotated[Depth, Holds("1 or more")] = 2
    """Number of hidden layers."""
    episodes_per_task: Count = 10
    """Episodes on a task between updates."""
    epochs: Count = 8
    """Steps on each batch."""
    lr: Positive = 3e-3
    """Learning rate of Adam at the start."""
    clip: Positive = 0.2
    """Largest change of a ratio of probabilities before its gradient stops."""
    gamma: Share = 0.99
    """Discount a step."""
    lam: Share = 0.95
    """Trace of the generalised advantage."""
    baseline: Baseline = "linear"
    """Subtracted from returns: a linear fit to observation and time, or the mean at each time."""
    entropy: NonNegative = 0.01
    """Weight of the entropy bonus at the start, in nats."""
    max_grad_norm: Positive = 1.0
    """The gradient of each specialist is scaled down to this norm."""


SPACE: Space = mtrl.SPACE
"""Search space."""


class Specialists(mtrl.Mtrl):
    """The specialists as one agent, which is given the task. Its memory is the number of each trial's specialist.

    Args:
        table: the policies.
        card: the description.
        numbers: the number of the specialist of each task, by ``key``.
        trained_on: the splits that have specialists, for errors.
    """

    def __init__(
        self, table: TaskTable[Any], card: Card, numbers: dict[bytes, int], trained_on: str
    ) -> None:
        super().__init__(table, card)
        self.numbers, self.trained_on = numbers, trained_on

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Int[Tensor, " B"]:
        """Find the specialist of each trial.

        Raises:
            UserError: a task has none.
        """
        tasks = clues.task
        assert tasks is not None
        found = [self.numbers.get(key(tasks, row)) for row in range(len(rng))]
        if None in found:
            task = int(tasks.index[found.index(None)])
            raise UserError(
                f"No specialist was trained on task {task} that is played; there are some for {self.trained_on}. Train "
                "them on that split, too: specialists:splits=id+shift/AXIS/LEVEL, and play as many tests= as then."
            )
        return torch.tensor(found, device=rng.device)


def key(tasks: Tasks, row: int) -> bytes:
    """Return the bytes of the hidden parameters of a task, which no other task shares. What is observed of it is no
    part of them: whoever is given the task observes everything as it is."""
    names = sorted(tasks.params.keys() - set(perception.PARAMETERS))
    return ";".join(f"{name}={tasks.params[name][row].tolist()}" for name in names).encode()


class SpecialistsLearner(mtrl.MtrlLearner):
    """PPO on every test task of some splits at once."""

    config: Config
    method = "specialists"

    def _build(self) -> None:
        self.counts = {split: _count(self.family, split) for split in self.config.splits.split("+")}
        super()._build()
        self.slots = self.known

    @property
    def known(self) -> int:
        return sum(self.counts.values())

    @property
    def places(self) -> dict[str, slice]:
        """The numbers of the specialists of each split."""
        ends = list(itertools.accumulate(self.counts.values(), initial=0))
        return dict(
            zip(self.counts, itertools.starmap(slice, itertools.pairwise(ends)), strict=True)
        )

    def _roll_out(
        self, task: Int[Tensor, " N"], number: Int[Tensor, " N"], noise: TrialNoise
    ) -> Episodes:
        parts = [
            per_task.roll_out(
                self.table.net,
                self.table.rows(task[mine]),
                self.family,
                self.family.sample(split, number[mine] - mine.start),
                noise[mine],
                self.config.episodes_per_task,
            )
            for split, mine in self.places.items()
        ]
        return tree.joined(parts)

    def agent(self) -> Agent:
        """The specialists as trained so far (they share the learner's weights; copy the agent to keep it)."""
        card = trained_card(self.method, self.table.named(), clue="task")
        card = dataclasses.replace(card, reference=True, exact_reference="heuristic")
        numbers = {}
        for split, mine in self.places.items():
            tasks = self.family.sample(split, torch.arange(self.counts[split]))
            numbers |= {key(tasks, row): mine.start + row for row in range(self.counts[split])}
        return Specialists(self.table, card, numbers, self.config.splits)


def _count(family: TaskFamily, split: str) -> int:
    """The number of test tasks of a split.

    Raises:
        UserError: there is no such split, it has endless tasks, or its tasks change during a trial.
    """
    parsed = family.split_of_tasks(split)
    if parsed.axis in perception.AXES:
        raise UserError(f"Specialists observe {split} as they do id; leave it out of splits=.")
    if parsed.axis == "changes":
        raise UserError(f"Tasks change during a trial of {split}, and a specialist plays one task.")
    count = family.support(split)
    if parsed.stream != "id" or count is None:
        joint = "," if ":" in family.id else ":"
        raise UserError(
            f"Specialists need a number of fixed test tasks; found {split} of {family.id}. Name how many, and splits "
            f"that are tested: --family {family.id}{joint}tests=10, splits=id+shift/AXIS/LEVEL"
        )
    return count
