"""Tasks that change within a trial: axis ``changes``, the probability of a new task before an episode.

The task that an episode plays is a function of the trial's task and of the episode's number, so that nothing is kept
between episodes. A higher level has all changes of a lower one, and more.

Shape letters: B trials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from bridge.rng import Rows

if TYPE_CHECKING:
    from bridge.tasks.base import Split, TaskFamily, Tasks

HAZARD = "changes/hazard"
"""The parameter's name."""
_MOST = (1 << 62) - 1


def params(family: TaskFamily, split: Split, noise: Rows) -> dict[str, Tensor]:
    """The probability of a change before an episode, of B tasks; ``{}`` on other axes."""
    hazard = family.value(split, "changes", 0.0)
    return {HAZARD: torch.full((len(noise),), hazard, device=noise.device)} if hazard else {}


def task_of(family: TaskFamily, tasks: Tasks, episode: int | Int[Tensor, " B"]) -> Tasks:
    """The task that each trial plays in ``episode`` (of all rows, or one a row): ``tasks`` itself if none changes."""
    if HAZARD not in tasks.params:
        return tasks
    hazard, index = tasks.params[HAZARD], tasks.index
    if not len(index):
        return tasks
    noise = Rows.of(f"changes/{family.name}/v{family.version}", index)
    latest = episode if isinstance(episode, int) else int(episode.max())
    number = torch.arange(1, 1 + latest, device=index.device)
    passed = number <= torch.as_tensor(episode, device=index.device).expand_as(index)[:, None]
    changed = (noise.uniform(latest) < hazard[:, None]) & passed
    last = (changed * number).amax(1) if latest else torch.zeros_like(index)
    drawn = noise.at("task", last).bits() & _MOST
    now = family.sample("id", torch.where(last > 0, drawn, index))
    return tasks._replace(params=now.params | {HAZARD: hazard})
