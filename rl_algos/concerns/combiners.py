"""Combiners by name, as ``mtrl:combine=pcgrad`` names them."""

from __future__ import annotations

from typing import Literal

from bridge.errors import UserError
from rl_algos.concerns.combining import Combiner, Equal
from rl_algos.concerns.imbalance import GradNorm, Static
from rl_algos.concerns.interference import SURGERY
from rl_algos.concerns.loss_weights import DynamicAverage, Uncertainty
from rl_algos.concerns.return_weights import ReturnScaled
from rl_algos.task_table import Shared

Combine = Literal[
    "mean",
    "equal",
    "static",
    "grad_norm",
    "uncertainty",
    "dwa",
    "return_scaled",
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
* ``return_scaled``: weights from the scale of returns (``return_weights.py``).
* the others: gradient surgery (``interference.py``).
"""

OF_ERRORS = {"uncertainty": Uncertainty, "dwa": DynamicAverage}
"""Rules that weigh tasks by their losses, which must be errors."""


def make(
    combine: Combine,
    weights: str,
    *,
    known: int,
    together: int,
    shared: Shared,
    gamma: float,
    errors: bool = False,
    to_raw: str = "",
) -> Combiner:
    """Return the combiner; ``mean`` needs none.

    Args:
        combine: its name.
        weights: those of ``static``.
        known: number of known tasks.
        together: number of known tasks that are trained on at once, given their ids.
        shared: weights that tasks share.
        gamma: discount a step.
        errors: True if losses are errors, as those of critics are; those of policies are not.
        to_raw: the setting with which losses are in units of reward; empty if they are.

    Raises:
        UserError: there is nothing to combine, the weights do not fit, losses are not what the rule is for, or a
            library is missing.
    """
    if combine in OF_ERRORS and not errors:
        raise UserError(
            f"combine={combine} weighs tasks by the size of their errors, and a policy's loss is no error: its size "
            "and sign do not say how well a task is learned. Use combine=grad_norm, or "
            f"mtrl_sac:combine={combine}, which weighs its critics' errors."
        )
    if combine == "return_scaled" and to_raw:
        raise UserError(
            "combine=return_scaled divides by the scale of each task's returns, which is divided out already. Add "
            f"{to_raw}, or leave combine=return_scaled out."
        )
    if together < 2 or shared == "nothing":
        lack = (
            f"it is trained on {together} known task{'s' * (together != 1)} at once, given the ids"
        )
        if known and shared == "nothing":
            lack = "specialists share no weights"
        elif not known:
            lack = "no task is known, so that all are one"
        raise UserError(
            f"combine={combine} has nothing to combine: {lack}. Leave it out, or use known tasks (--family F:tasks=N) "
            "with shared=all or shared=trunk."
        )
    if combine == "return_scaled":
        return ReturnScaled(known + 1, gamma=gamma, power=2 if errors else 1)
    if combine == "equal":
        return Equal()
    if combine == "static":
        return Static(weights, known)
    if combine == "grad_norm":
        return GradNorm(known + 1)
    if combine in OF_ERRORS:
        return OF_ERRORS[combine](known + 1)
    return SURGERY[combine]()
