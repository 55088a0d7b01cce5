"""Combiners by name, as ``mtrl:combine=pcgrad`` names them."""

from __future__ import annotations

from typing import Literal

from bridge.errors import UserError
from rl_algos.concerns.combining import Combiner, Equal
from rl_algos.concerns.imbalance import GradNorm, Static
from rl_algos.concerns.interference import SURGERY
from rl_algos.concerns.loss_weights import DynamicAverage, Uncertainty
from rl_algos.task_table import Shared

Combine = Literal[
    "mean",
    "equal",
    "static",
    "grad_norm",
    "uncertainty",
    "dwa",
    "pcgrad",
    "upgrad",
    "mgda",
    "cagrad",
    "nash_mtl",
    "aligned_mtl",
    "dual_proj",
    "fair_grad",
]
"""Names of the rules by which tasks' gradients become one:

* ``mean``: the gradient of the mean loss. ``equal`` is its equal from each task's gradient: the log has conflicts.
* ``static``, ``grad_norm``: weights, given or learned (``imbalance.py``).
* ``uncertainty``, ``dwa``: weights from losses that are errors (``loss_weights.py``).
* the others: gradient surgery (``interference.py``).
"""

OF_ERRORS = {"uncertainty": Uncertainty, "dwa": DynamicAverage}
"""Rules that weigh tasks by their losses, which must be errors."""


def make(
    combine: Combine, weights: str, *, known: int, shared: Shared, errors: bool = False
) -> Combiner:
    """Return the combiner; ``mean`` needs none.

    Args:
        combine: its name.
        weights: those of ``static``.
        known: number of known tasks.
        shared: weights that tasks share.
        errors: True if losses are errors, as those of critics are; those of policies are not.

    Raises:
        UserError: there is nothing to combine, the weights do not fit, losses are no errors, or a library is missing.
    """
    if combine in OF_ERRORS and not errors:
        raise UserError(
            f"combine={combine} weighs tasks by the size of their errors, and a policy's loss is no error: its size "
            "and sign do not say how well a task is learned. Use combine=grad_norm, or "
            f"mtrl_sac:combine={combine}, which weighs its critics' errors."
        )
    if not known or shared == "nothing":
        lack = "specialists share no weights" if known else "no task is known, so that all are one"
        raise UserError(
            f"combine={combine} has nothing to combine: {lack}. Leave it out, or use known tasks (--family F:tasks=N) "
            "with shared=all or shared=trunk."
        )
    if combine == "equal":
        return Equal()
    if combine == "static":
        return Static(weights, known)
    if combine == "grad_norm":
        return GradNorm(known + 1)
    if combine in OF_ERRORS:
        return OF_ERRORS[combine](known + 1)
    return SURGERY[combine]()
