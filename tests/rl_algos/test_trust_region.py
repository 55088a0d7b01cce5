"""A trust region step where everything is known: a quadratic divergence and a linear gain."""

import torch
from torch import nn

from rl_algos.trust_region import conjugate_gradients, trust_region_step

MATRIX = torch.tensor([[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 2.0]], dtype=torch.float64)
SLOPE = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def test_conjugate_gradients_solve_what_a_solver_solves():
    found = conjugate_gradients(lambda v: MATRIX @ v, SLOPE, 10)
    torch.testing.assert_close(found, torch.linalg.solve(MATRIX, SLOPE), atol=1e-10, rtol=0)


def point() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(1, dtype=torch.float64)), nn.Parameter(torch.zeros(2, dtype=torch.float64))]


def test_the_step_is_the_natural_gradient_as_long_as_the_bound_allows():
    where = point()

    def objective() -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.cat(where)
        return SLOPE @ x, 0.5 * x @ MATRIX @ x

    assert trust_region_step(where, objective, 0.01) == 1.0
    x = torch.cat([p.detach() for p in where])
    natural = torch.linalg.solve(MATRIX, SLOPE)
    torch.testing.assert_close(x / x.norm(), natural / natural.norm(), atol=1e-3, rtol=0)
    torch.testing.assert_close(0.5 * x @ MATRIX @ x, torch.tensor(0.01).double(), atol=1e-5, rtol=0)


def test_the_step_is_halved_until_the_divergence_fits():
    where = point()

    def objective() -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.cat(where)
        quadratic = 0.5 * x @ MATRIX @ x
        return SLOPE @ x, quadratic + 1e3 * quadratic**2

    share = trust_region_step(where, objective, 0.01)
    assert 0 < share < 1
    with torch.no_grad():
        assert float(objective()[1]) <= 0.01


def test_nothing_moves_where_no_step_gains():
    where = point()

    def objective() -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.cat(where)
        return SLOPE @ x - 1e9 * (x.abs() > 0).any(), 0.5 * x @ MATRIX @ x

    assert trust_region_step(where, objective, 0.01) == 0.0
    assert not torch.cat([p.detach() for p in where]).any()
