"""A network for N known tasks and an unknown one: the weights that tasks share, and those that each task owns.

Weights that a task owns, by what tasks share (``Shared``):

* ``all``: the first layer's biases, which are equivalent to a one-hot id as an input beside the observation.
* ``trunk``: its head, too.
* ``nothing``: everything. These are N specialists that learn side by side, to measure transfer.

Shape letters: N rows, a task each.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bridge.errors import UserError
from bridge.maths.optimizers import along, clipping
from bridge.tasks.base import TaskFamily
from rl_algos.per_task import Parameters

Shared = Literal["all", "trunk", "nothing"]
"""Weights that tasks share; see above."""

Net = TypeVar("Net", bound=nn.Module)


def chosen(only: str, known: int) -> Int[Tensor, " n"]:
    """Return the tasks that ``only`` names, in its order, or all known tasks if it is empty.

    Args:
        only: numbers of known tasks, joined by ``+``.
        known: number of known tasks.

    Raises:
        UserError: they are not different numbers of known tasks.
    """
    if not only:
        return torch.arange(known)
    names = only.split("+")
    numbers = [int(name) for name in names if re.fullmatch(r"\d{1,9}", name)]
    if len(set(numbers)) < len(names) or max(numbers, default=0) >= known:
        tasks = f"known tasks, 0 to {known - 1}" if known else "known tasks (--family F:tasks=N)"
        raise UserError(
            f"only= needs different numbers of {tasks}, joined by +; found {only!r}. Leave it out for all of them."
        )
    return torch.tensor(numbers)


class TaskTable(nn.Module, Generic[Net]):
    """A network, with a row of each owned parameter for each of N known tasks and for the unknown one (number N).

    Args:
        family: for its name.
        known: N, the number of known tasks. If there are none, only the unknown task has a row.
        make: makes a network.
        shared: weights that tasks share.
        ids: names of the first layer's biases, which start out different for each task.
        heads: prefixes of the names of the heads' parameters.
        always: names of parameters that every task owns, whatever is shared.

    Raises:
        UserError: ``shared`` is "nothing", and no tasks are known.
    """

    def __init__(
        self,
        family: TaskFamily,
        known: int,
        make: Callable[[], Net],
        shared: Shared,
        *,
        ids: tuple[str, ...],
        heads: tuple[str, ...],
        always: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        if shared == "nothing" and not known:
            named = f"{family.id}{',' if ':' in family.id else ':'}tasks=N"
            raise UserError(f"Specialists need known tasks. Name how many: --family {named}")
        self.known, self.shared = known, shared
        nets = [make() for _ in range(1 + (self.known if shared == "nothing" else 0))]
        self.net = nets[0]
        own = {"all": (*ids, *always), "trunk": (*ids, *heads, *always), "nothing": ("",)}[shared]
        self.names = [name for name, _ in self.net.named_parameters() if name.startswith(own)]
        rows = [dict(nets[k % len(nets)].named_parameters()) for k in range(self.known + 1)]
        self.tables = nn.ParameterList(
            nn.Parameter(
                torch.stack([row[name].detach() for row in rows]),
                requires_grad=rows[0][name].requires_grad,
            )
            for name in self.names
        )
        if shared != "nothing":
            for name in ids:
                nn.init.normal_(self.parameter(name))

    def rows(self, task: Int[Tensor, " N"]) -> Parameters:
        """The parameters that these tasks own."""
        return {name: table[task] for name, table in zip(self.names, self.tables, strict=True)}

    def copies(self, task: Int[Tensor, " N"]) -> Parameters:
        """A copy for each row of every parameter that is learned; each row has a gradient of its own."""
        copies = {}
        for name, parameter in self.net.named_parameters():
            if parameter.requires_grad:
                mine = self.parameter(name)
                rows = mine[task] if name in self.names else mine.expand(len(task), *mine.shape)
                copies[name] = rows.detach().requires_grad_()
        return copies

    def with_hidden(
        self, task: Int[Tensor, " N"], u: Float[Tensor, " N"], share: float
    ) -> Int[Tensor, " N"]:
        """The ids of tasks, a share of them replaced by that of the unknown task; specialists' ids are never hidden.

        Args:
            task: numbers of known tasks; if none are known, all are the unknown task.
            u: uniform noise in [0, 1): ids are hidden where it is below ``share``.
            share: probability that an id is hidden.
        """
        if not self.known:
            return torch.zeros_like(task)
        return torch.where(u < (share if self.shared != "nothing" else 0.0), self.known, task)

    def parameter(self, name: str) -> nn.Parameter:
        """The parameter of that name: the rows of all tasks, or the one that all share."""
        if name in self.names:
            return self.tables[self.names.index(name)]
        return self.net.get_parameter(name)

    def named(self, prefix: str = "") -> list[nn.Parameter]:
        """The parameters whose names begin with ``prefix``."""
        names = (name for name, _ in self.net.named_parameters())
        return [self.parameter(name) for name in names if name.startswith(prefix)]

    def clip_gradients(self, prefix: str, max_norm: float) -> None:
        """Scale the gradient of these parameters down to ``max_norm``; of specialists, each one's separately."""
        if self.shared != "nothing":
            nn.utils.clip_grad_norm_(self.named(prefix), max_norm)
            return
        gradients = [table.grad for table in self.named(prefix) if table.grad is not None]
        scale, _ = clipping(gradients, max_norm)
        for g in gradients:
            g.mul_(along(g, scale))
