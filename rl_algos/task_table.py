"""A network for N known tasks and an unknown one: what of it all tasks share, and what each has of its own.

What a task owns (``Shared``):

* ``all``: the first layer's biases, which is what a network makes of a one-hot id beside the observation.
* ``trunk``: its head, too.
* ``nothing``: everything. These are N specialists that learn side by side, for measuring transfer.

Shape letters: N rows asked for, a task each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from bridge.errors import UserError
from bridge.tasks.base import TaskFamily
from rl_algos.per_task import Parameters

Shared = Literal["all", "trunk", "nothing"]
"""What tasks share; see above."""

Net = TypeVar("Net", bound=nn.Module)


class TaskTable(nn.Module, Generic[Net]):
    """A network, and what each of N known tasks and the unknown one (number N) has of its own.

    Args:
        family: whose known tasks; only its unknown task has a row where there are none.
        make: makes a network.
        shared: what tasks share.
        ids: names of the first layer's biases, which start out different for each task.
        heads: how the names of the parameters of heads begin.
        always: names of what every task owns whatever is shared.

    Raises:
        UserError: specialists, where no tasks are known.
    """

    def __init__(
        self,
        family: TaskFamily,
        make: Callable[[], Net],
        shared: Shared,
        *,
        ids: tuple[str, ...],
        heads: tuple[str, ...],
        always: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        if shared == "nothing" and not family.tasks:
            known = f"{family.id}{',' if ':' in family.id else ':'}tasks=N"
            raise UserError(f"Specialists need known tasks. Name how many: --family {known}")
        self.known, self.shared = family.tasks, shared
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
        """What tasks number ``task`` have of their own."""
        return {name: table[task] for name, table in zip(self.names, self.tables, strict=True)}

    def parameter(self, name: str) -> nn.Parameter:
        """The parameter of that name: all tasks' rows of it, or the one that all share."""
        return (
            self.tables[self.names.index(name)]
            if name in self.names
            else self.net.get_parameter(name)
        )

    def named(self, prefix: str = "") -> list[nn.Parameter]:
        """The parameters whose names begin so."""
        return [
            self.parameter(name)
            for name, _ in self.net.named_parameters()
            if name.startswith(prefix)
        ]

    def clip_gradients(self, prefix: str, max_norm: float) -> None:
        """Scale down the gradient of these parameters to that norm, or each specialist's own."""
        if self.shared != "nothing":
            nn.utils.clip_grad_norm_(self.named(prefix), max_norm)
            return
        gradients = [table.grad for table in self.named(prefix) if table.grad is not None]
        norm = torch.stack([g.square().flatten(1).sum(1) for g in gradients]).sum(0).sqrt()
        scale = (max_norm / norm.clamp(min=1e-12)).clamp(max=1.0)
        for g in gradients:
            g.mul_(scale.view(-1, *[1] * (g.dim() - 1)))
