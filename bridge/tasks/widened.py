"""A wider training distribution: ``wide=AXIS`` has levels 1 and 2 of a shift axis among the training tasks.

Each training task has one of three values of the axis, all equally likely: the trained one, level 1 or level 2. The
values of levels 3 and 4 stay outside. If the axis is a share of shifted tasks (``reward_sign``), shifted tasks of the
very kind of level 4 are then trained on, only fewer. Other axes and splits are as they were.

Shape letters: B trials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from bridge.errors import UserError, unknown
from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.perception import AXES

if TYPE_CHECKING:
    from bridge.tasks.base import TaskFamily

LEVELS = 2
"""The levels of the axis that are trained on, beside level 0."""
_NOT_OF_TASKS = ("changes", "context_length", "horizon", *AXES)
"""Axes of a trial's length, of tasks that change, and of the senses: training trials are observed as they are."""


def check(family: TaskFamily) -> None:
    """Refuse an axis that the training tasks of ``family`` cannot have several values of.

    Raises:
        UserError: no axis of the family, one that does not shift the tasks themselves, or as ``params``.
    """
    possible = [axis for axis in family.axes if axis not in _NOT_OF_TASKS]
    if family.wide in family.axes and family.wide not in possible:
        raise UserError(
            f"{family.id} cannot be widened along {family.wide}: training trials have one length, and tasks that stay "
            f"and are observed as they are. Choose one of {', '.join(possible)}."
        )
    if family.wide not in possible:
        raise unknown(f"wide= of {family.name}:", family.wide, possible)
    first = torch.zeros(1, dtype=torch.int64)
    params(family, first, Rows.of("check", first))


def params(family: TaskFamily, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
    """The parameters of the training tasks ``index`` of a widened family; ``noise`` has a row a task.

    Raises:
        UserError: a parameter that only some levels have, without an entry in the family's ``neutral``.
    """
    levels = [family.split(f"shift/{family.wide}/{level}") for level in range(LEVELS + 1)]
    found = [family.params(level._replace(stream="train"), index, noise) for level in levels]
    level = noise.at("wide").integers(len(levels))
    names = sorted(set().union(*found))
    return {name: _chosen(family, name, found, level) for name in names}


def _chosen(
    family: TaskFamily, name: str, found: list[dict[str, Tensor]], level: Int[Tensor, " B"]
) -> Tensor:
    """The parameter ``name`` of each task at its own level."""
    like = next(at[name] for at in found if name in at)
    values = [at[name] if name in at else _neutral(family, name, like) for at in found]
    return torch.stack(values)[level, torch.arange(len(level), device=level.device)]


def _neutral(family: TaskFamily, name: str, like: Tensor) -> Tensor:
    """The value of a parameter at which it changes nothing, in the shape of ``like``."""
    known = {**shifts.NEUTRAL, **family.neutral}
    if name not in known:
        raise UserError(
            f"{family.name} cannot be widened along {family.wide}: tasks at its trained value have no parameter "
            f"{name!r}. Add the value at which it changes nothing to `neutral` of {type(family).__name__}."
        )
    return torch.as_tensor(known[name], dtype=like.dtype, device=like.device).expand_as(like)
