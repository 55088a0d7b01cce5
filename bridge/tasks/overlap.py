"""Which tasks of a split are training tasks: compared by their hidden parameters, not by the split's name.

``id`` is held out in most families, but not in all: the goals of ``gridnavi`` train and are tested on, as published,
and ``tasks=N`` makes some of them training tasks and leaves the others new. A shift of a trial's length leaves the
hidden parameters as they are, so its tasks are training tasks if those of ``id`` are.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from bridge.tasks.base import TaskFamily, Tasks

_CHUNK = 4_096
"""Tasks that are made at a time: it bounds memory."""


def task_keys(tasks: Tasks) -> list[bytes]:
    """A key for each task; two keys of a family are equal if and only if the hidden parameters are.

    A ``factor`` of 1 on rewards is no factor (``bridge/tasks/shifts.py``), and has no part in the key.
    """
    params = {
        name: value.detach().reshape(len(value), -1).double().cpu().numpy()
        + 0.0  # -0.0 and 0.0 are one number
        for name, value in sorted(tasks.params.items())
    }
    plain = (
        (params["factor"] == 1).all(1) if "factor" in params else np.zeros(len(tasks.index), bool)
    )
    return [
        b"".join(
            name.encode() + value[row].tobytes()
            for name, value in params.items()
            if name != "factor" or not plain[row]
        )
        for row in range(len(tasks.index))
    ]


def training_tasks(family: TaskFamily) -> frozenset[bytes] | None:
    """The keys of all training tasks; None if they are drawn from a continuum."""
    size = family.support("train")
    return (
        None if size is None else frozenset(task_keys(family.sample("train", torch.arange(size))))
    )


def are_training_tasks(
    family: TaskFamily, split: str, numbers: Int[Tensor, " n"]
) -> Bool[np.ndarray, " n"] | None:
    """Whether each of some tasks of ``split`` is a training task; None if these are drawn from a continuum."""
    known = training_tasks(family)
    if known is None:
        return None
    distinct, place = numbers.unique(return_inverse=True)
    found = [
        key in known
        for some in distinct.split(_CHUNK)
        for key in task_keys(family.sample(split, some))
    ]
    return np.array(found, bool)[place.cpu().numpy()]


def count_training_tasks(family: TaskFamily, split: str) -> int | None:
    """How many tasks of ``split`` are training tasks; None if either are drawn from a continuum."""
    size = family.support(split)
    known = None if size is None else are_training_tasks(family, split, torch.arange(size))
    return None if known is None else int(known.sum())
