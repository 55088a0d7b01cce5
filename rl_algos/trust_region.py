"""One step of trust region policy optimisation (Schulman et al. 2015, TRPO, section 6 and appendix C).

Conjugate gradients give the natural gradient direction; they need the Fisher matrix only as a product with a vector. A
line search then ensures that the surrogate rises and the divergence stays within its bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

_ITERATIONS = 10
"""Iterations of conjugate gradients."""
_DAMPING = 1e-4
"""Multiple of the identity that is added to the Fisher matrix. (Surrogates are of order 1.)"""
_BACKTRACKS = 10
"""Most halvings of the step."""


def trust_region_step(
    parameters: Sequence[nn.Parameter],
    objective: Callable[[], tuple[Float[Tensor, ""], Float[Tensor, ""]]],
    max_kl: float,
    average: Callable[[Tensor], Tensor] = lambda mine: mine,
) -> float:
    """Move ``parameters`` in place. Returns the share of the full step that was taken, 0 if no share was good.

    Args:
        parameters: changed in place.
        objective: returns the surrogate and the mean divergence from the policy that played, as functions of
            ``parameters``. At their present values the divergence is at its minimum.
        max_kl: bound on the divergence, in nats.
        average: mean of a tensor over the processes.
    """
    gain, kl = objective()
    gradient = average(_flat(torch.autograd.grad(gain, parameters, retain_graph=True)))
    slope = _flat(torch.autograd.grad(kl, parameters, create_graph=True))

    def fisher(vector: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
        product = torch.autograd.grad(slope @ vector, parameters, retain_graph=True)
        return average(_flat(product)) + _DAMPING * vector

    direction = conjugate_gradients(fisher, gradient, _ITERATIONS)
    length = (2 * max_kl / (direction @ fisher(direction)).clamp(min=1e-12)).sqrt()
    before, step, share = float(average(gain.detach())), length * direction, 1.0
    with torch.no_grad():
        start = parameters_to_vector(parameters)
        for _ in range(_BACKTRACKS):
            vector_to_parameters(start + share * step, parameters)
            gain, kl = (float(average(value)) for value in objective())
            if gain > before and kl <= max_kl:
                return share
            share /= 2
        vector_to_parameters(start, parameters)
    return 0.0


def conjugate_gradients(
    product: Callable[[Float[Tensor, " P"]], Float[Tensor, " P"]],
    target: Float[Tensor, " P"],
    iterations: int,
) -> Float[Tensor, " P"]:
    """Solve ``product(x) = target`` for a symmetric positive definite product (Hestenes & Stiefel 1952)."""
    x, residual = torch.zeros_like(target), target.clone()
    along, norm = residual.clone(), residual @ residual
    for _ in range(iterations):
        if norm < 1e-12:
            break
        image = product(along)
        share = norm / (along @ image)
        x, residual = x + share * along, residual - share * image
        before, norm = norm, residual @ residual
        along = residual + norm / before * along
    return x


def _flat(tensors: Sequence[Tensor]) -> Float[Tensor, " P"]:
    """All entries as one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
