"""A replay buffer for each task: rings in a few large tensors, written and read for many tasks at once.

Shape letters: N tasks, C capacity, n tasks of one call, T transitions offered of each, b transitions drawn of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from bridge.protocol import Trial
from bridge.rng import Rows
from bridge.tasks.base import Space
from bridge.test_time.trial_buffer import TrialBuffer
from rl_algos.transitions import Transitions


class Replay:
    """The last ``capacity`` transitions of each of ``tasks`` tasks."""

    def __init__(
        self,
        observation: Space,
        action: Space,
        *,
        tasks: int,
        capacity: int,
        device: torch.device,
    ) -> None:
        self.capacity = capacity
        self.written = torch.zeros(tasks, dtype=torch.int64, device=device)
        """Number of transitions of each task written since it was cleared."""
        empty = TrialBuffer.empty(observation, action, Trial(1, capacity), self.written)
        rings = [part.squeeze(1) for part in empty[:5]]
        self.rows = Transitions(*rings, critic_reward=torch.zeros(tasks, capacity, device=device))

    @property
    def size(self) -> Int[Tensor, " N"]:
        """Number of transitions held of each task."""
        return self.written.clamp(max=self.capacity)

    def add(self, task: Int[Tensor, " n"], rows: Transitions, live: Bool[Tensor, "n T"]) -> None:
        """Write the live transitions of ``n`` distinct tasks, in order. If they exceed the capacity, the last stay."""
        rank = live.cumsum(1) - 1
        count = live.sum(1)
        place = (self.written[task][:, None] + rank) % self.capacity
        row, at = (live & (rank >= (count - self.capacity)[:, None])).nonzero(as_tuple=True)
        for ring, values in zip(self.rows, rows, strict=True):
            ring[task[row], place[row, at]] = values[row, at]
        self.written[task] += count

    def clear(self, task: Int[Tensor, " n"]) -> None:
        """Remove all transitions of some tasks."""
        self.written[task] = 0

    def draw(self, task: Int[Tensor, " n"], count: int, rng: Rows, *, good: int = 0) -> Transitions:
        """``count`` transitions of each task, uniformly with replacement: ``[n, b, ...]``.

        The first ``good`` of them are drawn from transitions with a reward above the task's mean, if there are any.

        Raises:
            ValueError: one of the tasks holds none.
        """
        size = self.size[task]
        if not bool((size > 0).all()):
            raise ValueError(f"Task {int(task[size == 0][0])} holds no transitions to draw from.")
        at = (rng.uniform(count) * size[:, None]).to(torch.int64)
        if good:
            held = torch.arange(self.capacity, device=task.device) < size[:, None]
            reward = torch.where(held, self.rows.reward[task], 0.0)
            above = held & (reward > (reward.sum(1) / size)[:, None])
            rank = above.cumsum(1)  # the place of the k-th good one is the first of rank k
            chosen = (rng.at("good").uniform(good) * rank[:, -1:]).to(torch.int64) + 1
            place = torch.searchsorted(rank, chosen)
            at[:, :good] = torch.where(rank[:, -1:] > 0, place, at[:, :good])
        return Transitions(*(ring[task[:, None], at] for ring in self.rows))

    def first(self, task: Int[Tensor, " n"]) -> Transitions:
        """The transitions ``[n, T, ...]`` of some tasks in the order of the ring.

        That is the order of writing as long as none was overwritten. T is the largest ``size`` of these tasks (at least
        1); what follows a task's own transitions has no meaning.
        """
        longest = max(1, int(self.size[task].max()))
        return Transitions(*(ring[task, :longest] for ring in self.rows))

    def state_dict(self) -> dict[str, Any]:
        """All rings, and how much was written."""
        return {"rows": self.rows._asdict(), "written": self.written}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a ``state_dict``. Rings are matched by their order: earlier versions had other names."""
        for ring, saved in zip(self.rows, state["rows"].values(), strict=True):
            ring.copy_(saved)
        self.written.copy_(state["written"])
