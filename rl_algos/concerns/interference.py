"""Gradient interference: tasks whose gradients point against one another. Surgery combines them otherwise than by mean.

PCGrad is our own, since torchjd draws its order of projections from torch's global generator. The others are those of
torchjd (Quinton & Rey 2024, arXiv 2406.16232), which names the paper of each.

Shape letters: t tasks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge.errors import UserError
from bridge.rng import Rows
from rl_algos.concerns.combining import Combiner


class PcGrad(Combiner):
    """Projects each gradient off those that it conflicts with, in an order of its own, then takes the mean.

    Yu et al. 2020 (arXiv 2001.06782), algorithm 1. Deviation: the mean, not the sum.
    """

    def forward(
        self,
        gramian: Float[Tensor, "t t"],
        losses: Float[Tensor, " t"],
        task: Int[Tensor, " t"],
        rng: Rows,
    ) -> Float[Tensor, " t"]:
        order = rng.at("order").uniform(len(gramian)).argsort(1)
        row, weights = torch.arange(len(gramian)), torch.eye(len(gramian), dtype=gramian.dtype)
        for other in order.unbind(1):
            product = (weights * gramian[other]).sum(1)
            product = torch.where(other == row, 0.0, product.clamp(max=0.0))
            weights[row, other] -= product / gramian.diagonal()[other]
        return weights.mean(0)


class TorchJd(Combiner):
    """One of torchjd's weightings.

    Args:
        name: of its aggregator.
        unit: True if the weights are scaled so that their sum is 1: those that agree would be longer than their mean.
        settings: of the weighting.

    Raises:
        UserError: torchjd, or a solver that the weighting needs, is not installed.
    """

    def __init__(self, name: str, *, unit: bool = False, **settings: Any) -> None:
        super().__init__()
        self.unit = unit
        try:
            from torchjd import aggregation

            self.weigh = getattr(aggregation, f"{name}Weighting")(**settings)
        except ImportError as error:
            raise _missing(name, error) from error

    def forward(
        self,
        gramian: Float[Tensor, "t t"],
        losses: Float[Tensor, " t"],
        task: Int[Tensor, " t"],
        rng: Rows,
    ) -> Float[Tensor, " t"]:
        weights = self.weigh(gramian)
        return weights / weights.sum() if self.unit else weights


class NashMtl(Combiner):
    """Nash-MTL (Navon et al. 2022, arXiv 2202.01017) of torchjd, scaled so that the weights' sum is 1.

    It starts anew at each step, not from the weights of the last one, so that a training goes on bitwise.

    Raises:
        UserError: as ``TorchJd``.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from torchjd.aggregation import NashMTL

            NashMTL(n_tasks=1)
        except ImportError as error:
            raise _missing("NashMTL", error) from error
        self.make = NashMTL

    def forward(
        self,
        gramian: Float[Tensor, "t t"],
        losses: Float[Tensor, " t"],
        task: Int[Tensor, " t"],
        rng: Rows,
    ) -> Float[Tensor, " t"]:
        values, vectors = torch.linalg.eigh(gramian)
        rows = vectors * values.clamp(min=0).sqrt()  # they have this Gramian
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of cvxpy, on the form of the problem
            weights = self.make(n_tasks=len(gramian)).weighting(rows)
        return weights / weights.sum()


def _missing(name: str, error: ImportError) -> UserError:
    reason = str(error).splitlines()[0].rstrip(".")
    return UserError(
        f"{name} needs torchjd and its solvers ({reason}). Install them: pip install 'metabridge[concerns]'"
    )


SURGERY: dict[str, Callable[[], Combiner]] = {
    "pcgrad": PcGrad,
    "upgrad": lambda: TorchJd("UPGrad"),
    "mgda": lambda: TorchJd("MGDA"),
    "cagrad": lambda: TorchJd("CAGrad", unit=True, c=0.5, norm_eps=1e-12),
    "nash_mtl": NashMtl,
    "aligned_mtl": lambda: TorchJd("AlignedMTL"),
    "dual_proj": lambda: TorchJd("DualProj"),
    "fair_grad": lambda: TorchJd("FairGrad", unit=True, alpha=1.0),
}
"""Makers of combiners by name."""
