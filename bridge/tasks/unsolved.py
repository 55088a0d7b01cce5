"""Families whose optimal return nobody knows."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from bridge.errors import UserError
from bridge.protocol import Trial
from bridge.tasks.base import Tasks


class Unsolved:
    """The part of such a family that stands for its optimum: there is no regret and no oracle. Scores are measured by
    specialists (``rl_algos/specialists.py``)."""

    id: str
    solved: ClassVar[bool] = False

    def optimal_return(self, tasks: Tasks, trial: Trial) -> Float[Tensor, " B"]:
        """Nobody knows it.

        Raises:
            UserError: always.
        """
        raise UserError(f"The optimal return of {self.id} is not known, and with it regret.")
