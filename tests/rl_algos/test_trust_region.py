"""A trust region step where everything is known: a quadratic divergence and a linear gain."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from rl_algos.trust_region import conjugate_gradients, trust_region_step

MATRIX = torch.tensor([[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 2.0]], dtype=torch.float64)
SLOPE = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def test_conjugate_gradients_solve_what_a_solver_solves():
    found = conjugate_gradients(lambda v: MATRIX @ v, SLOPE, 10)
    torch.testing.assert_close(found, torch.linalg.solve(MATRIX, SLOPE), atol=1e-10, rtol=0)


def point() -> list[nn.Parameter]:
    return [
        nn.Parameter(torch.zeros(1, dtype=torch.float64)),
        nn.Parameter(torch.zeros(2, dtype=torch.float64)),
    ]


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


def test_the_step_that_is_taken_is_the_longest_of_those_halved():
    """The one twice as long breaks the bound; how much so decides how often it is halved."""
    for weight, halvings in ((1e3, 1), (1e5, 3), (1e7, 5)):
        where = point()

        def objective(where=where, weight=weight) -> tuple[torch.Tensor, torch.Tensor]:
            x = torch.cat(where)
            quadratic = 0.5 * x @ MATRIX @ x
            return SLOPE @ x, quadratic + weight * quadratic**2

        assert trust_region_step(where, objective, 0.01) == 0.5**halvings
        with torch.no_grad():
            for p in where:
                p.mul_(2)
            assert float(objective()[1]) > 0.01


def test_nothing_moves_where_nothing_is_gained_or_lost():
    where = point()

    def objective() -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.cat(where)
        return 0.0 * x.sum(), 0.5 * x @ MATRIX @ x

    assert trust_region_step(where, objective, 0.01) == 0.0


def test_where_nothing_is_asked_nothing_is_the_solution():
    assert torch.equal(
        conjugate_gradients(lambda v: MATRIX @ v, torch.zeros_like(SLOPE), 10),
        torch.zeros_like(SLOPE),
    )


class Exchange:
    """Two threads that average what they have, as two processes do."""

    def __init__(self) -> None:
        self.barrier, self.values = (
            threading.Barrier(2, timeout=20),
            [torch.zeros(()), torch.zeros(())],
        )

    def average(self, index: int):
        def mean(mine: torch.Tensor) -> torch.Tensor:
            self.values[index] = mine
            self.barrier.wait()
            both = (self.values[0] + self.values[1]) / 2
            self.barrier.wait()  # nobody writes before both have read
            return both

        return mean


def test_processes_that_see_different_tasks_take_the_step_of_their_mean():
    """Each has a gain, a divergence and a bump of its own that only the other would stop at."""
    slopes, matrices = (SLOPE, SLOPE.flip(0) - 1), (MATRIX, 3 * torch.eye(3, dtype=torch.float64))

    def objective(where, parts):
        def value() -> tuple[torch.Tensor, torch.Tensor]:
            x = torch.cat(where)
            quadratic = [0.5 * x @ matrices[i] @ x for i in parts]
            gain = torch.stack([slopes[i] @ x + (4.0 if i else -4.0) for i in parts]).mean()
            return gain, torch.stack(
                [q + 2e3 * i * q**2 for i, q in zip(parts, quadratic, strict=True)]
            ).mean()

        return value

    alone = point()
    share = trust_region_step(alone, objective(alone, (0, 1)), 0.01)
    exchange, both = Exchange(), (point(), point())
    with ThreadPoolExecutor(2) as pool:
        shares = [
            pool.submit(trust_region_step, where, objective(where, (i,)), 0.01, exchange.average(i))
            for i, where in enumerate(both)
        ]
        assert [found.result(60) for found in shares] == [share, share]
    assert 0 < share < 1
    for where in both:
        torch.testing.assert_close(torch.cat([*where]), torch.cat([*alone]), atol=1e-12, rtol=0)
