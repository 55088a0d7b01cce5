"""What was played, by task: rings of transitions as a few large tensors, written and read for many tasks at once.

Shape letters: N tasks, C capacity, n tasks of one call, T transitions offered of each, b transitions drawn of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.protocol import Step
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete


class Stored(NamedTuple):
    """Transitions as they were played. Whether time ran out after one is not kept: a time-out is no end."""

    obs: Tensor
    action: Tensor
    reward: Float[Tensor, "*batch"]
    next_obs: Tensor
    terminated: Bool[Tensor, "*batch"]
    critic_reward: Float[Tensor, "*batch"]
    """The reward that critics learn from, where it is another one."""


def stored(
    steps: list[Step], critic_reward: list[Tensor] | None = None
) -> tuple[Stored, Bool[Tensor, "n T"]]:
    """Played steps side by side, ``[n, T, ...]``, and which of them were acted in."""
    rows = Stored(
        *(torch.stack([getattr(step, name) for step in steps], 1) for name in Stored._fields[:-1]),
        torch.stack([step.reward for step in steps] if critic_reward is None else critic_reward, 1),
    )
    everyone = torch.ones_like(steps[0].terminated)
    return rows, torch.stack([everyone if step.live is None else step.live for step in steps], 1)


class Replay:
    """A ring of ``capacity`` transitions for each of ``tasks`` tasks; the oldest are overwritten."""

    def __init__(
        self,
        observation: Discrete | Box,
        action: Discrete | Box,
        *,
        tasks: int,
        capacity: int,
        device: torch.device,
    ) -> None:
        self.capacity = capacity

        def room(space: Discrete | Box | None) -> Tensor:
            if isinstance(space, Discrete):
                return torch.zeros(tasks, capacity, dtype=torch.int64, device=device)
            return torch.zeros(
                tasks, capacity, *([] if space is None else [len(space.low)]), device=device
            )

        ended = torch.zeros(tasks, capacity, dtype=torch.bool, device=device)
        self.rows = Stored(
            room(observation), room(action), room(None), room(observation), ended, room(None)
        )
        self.written = torch.zeros(tasks, dtype=torch.int64, device=device)
        """Transitions that each task was ever given since it was cleared."""

    @property
    def size(self) -> Int[Tensor, " N"]:
        """Transitions that each task holds."""
        return self.written.clamp(max=self.capacity)

    def add(self, task: Int[Tensor, " n"], rows: Stored, live: Bool[Tensor, "n T"]) -> None:
        """Write the live transitions of ``n`` distinct tasks, in order; of more than the capacity the last ones."""
        rank = live.cumsum(1) - 1
        count = live.sum(1)
        place = (self.written[task][:, None] + rank) % self.capacity
        row, at = (live & (rank >= (count - self.capacity)[:, None])).nonzero(as_tuple=True)
        for room, values in zip(self.rows, rows, strict=True):
            room[task[row], place[row, at]] = values[row, at]
        self.written[task] += count

    def clear(self, task: Int[Tensor, " n"]) -> None:
        """Forget all of some tasks."""
        self.written[task] = 0

    def draw(self, task: Int[Tensor, " n"], count: int, rng: Rows, *, good: int = 0) -> Stored:
        """``count`` transitions of each task, with replacement, all that it holds alike: ``[n, b, ...]``.

        The first ``good`` of them are drawn from those that were paid more than the task's mean, where there are any.

        Raises:
            ValueError: one of the tasks holds none.
        """
        size = self.size[task]
        if not bool((size > 0).all()):
            raise ValueError(f"Task {int(task[size == 0][0])} holds no transitions to draw from.")
        at = (rng.uniform(count) * size[:, None]).to(torch.int64)
        if good:
            held = torch.arange(self.capacity, device=task.device) < size[:, None]
            paid = torch.where(held, self.rows.reward[task], 0.0)
            rank = (held & (paid > (paid.sum(1) / size)[:, None])).cumsum(1)
            wanted = (rng.at("good").uniform(good) * rank[:, -1:]).to(torch.int64) + 1
            found = torch.searchsorted(rank, wanted)
            at[:, :good] = torch.where(rank[:, -1:] > 0, found, at[:, :good])
        return Stored(*(room[task[:, None], at] for room in self.rows))

    def first(self, task: Int[Tensor, " n"]) -> tuple[Stored, Int[Tensor, " n"]]:
        """What each task holds, in the order of writing as long as none was overwritten, and how much that is.

        T is the largest of these numbers (at least 1); rows of tasks with fewer end in rows without meaning.
        """
        size = self.size[task]
        longest = max(1, int(size.max()))
        return Stored(*(room[task, :longest] for room in self.rows)), size

    def state_dict(self) -> dict[str, Any]:
        """The transitions that are held, and how many there were."""
        return {"rows": self.rows._asdict(), "written": self.written}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        for room, stored in zip(
            self.rows, state["rows"].values(), strict=True
        ):  # by place: names have changed
            room.copy_(stored)
        self.written.copy_(state["written"])
