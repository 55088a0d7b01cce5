"""The overlap of a split with the training tasks, by hidden parameters instead of the split's name.

``id`` is held out in most families, but not in all: ``gridnavi`` trains and tests on the same goals, as published, and
with ``tasks=N`` some of these are training tasks and the others new. A shift of a trial's length does not change the
hidden parameters, so its tasks are training tasks if those of ``id`` are.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from bridge.tasks.base import TaskFamily, Tasks
from bridge.tasks.changes import HAZARD
from bridge.tasks.perception import PARAMETERS

_CHUNK = 4_096
"""Tasks compared at a time, to bound memory."""


def task_keys(tasks: Tasks) -> list[bytes]:
    """A key for each task; two keys of a family are equal if and only if the hidden parameters are.

    A ``factor`` of 1 on rewards is the same as no factor (``bridge/tasks/shifts.py``) and not part of the key. Nor is
    what an agent observes of the world (``perception.py``). A task that may change counts as the one that it begins as.
    """
    keys = [b""] * len(tasks.index)
    for name, value in sorted(tasks.params.items()):
        if name in (HAZARD, *PARAMETERS):
            continue
        # adding 0 turns -0.0 into 0.0
        numbers = value.detach().reshape(len(value), -1).double().cpu().numpy() + 0.0
        for row, row_numbers in enumerate(numbers):
            if name != "factor" or not (row_numbers == 1).all():
                keys[row] += name.encode() + row_numbers.tobytes()
    return keys


def training_tasks(family: TaskFamily) -> frozenset[bytes] | None:
    """The keys of all training tasks; None if they are drawn from a continuum."""
    size = family.support("train")
    if size is None:
        return None
    return frozenset(task_keys(family.sample("train", torch.arange(size))))


def are_training_tasks(
    family: TaskFamily, split: str, numbers: Int[Tensor, " n"]
) -> Bool[np.ndarray, " n"] | None:
    """True for each task of ``split`` that is a training task; None if these are drawn from a continuum."""
    known = training_tasks(family)
    if known is None:
        return None
    distinct, place = numbers.unique(return_inverse=True)
    found: list[bool] = []
    for some in distinct.split(_CHUNK):
        found += [key in known for key in task_keys(family.sample(split, some))]
    return np.array(found, bool)[place.cpu().numpy()]


def count_training_tasks(family: TaskFamily, split: str) -> int | None:
    """The number of training tasks of ``split``; None if its or the training tasks are drawn from a continuum."""
    size = family.support(split)
    if size is None:
        return None
    known = are_training_tasks(family, split, torch.arange(size))
    return None if known is None else int(known.sum())
