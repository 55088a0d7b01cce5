"""Value iteration against answers that need no dynamic programming: a hand, an enumeration, a linear program."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from bridge.maths.planning import extended_value_iteration, value_iteration
from bridge.rng import Rows


def random_mdps(rows: int, states: int, actions: int) -> tuple[torch.Tensor, torch.Tensor]:
    noise = Rows.of("random mdps", torch.arange(rows))
    return noise.at("p").dirichlet(torch.ones(rows, states, actions, states)), noise.at("r").normal(
        states, actions
    )


def test_two_states_by_hand() -> None:
    """Action 0 stays and is paid 1 in state 0 and 3 in state 1; action 1 changes state for nothing."""
    stay, move = torch.eye(2), torch.eye(2).flip(0)
    transition = torch.stack([stay, move], 1)[None]
    reward = torch.tensor([[[1.0, 0.0], [3.0, 0.0]]])

    q = value_iteration(transition, reward, 3)

    assert q[0, 2].tolist() == [[1.0, 0.0], [3.0, 0.0]]
    assert q[0, 1].tolist() == [[2.0, 3.0], [6.0, 1.0]]
    assert q[0, 0].tolist() == [[4.0, 6.0], [9.0, 3.0]]


def test_value_is_the_best_over_all_policies_enumerated_by_trajectories() -> None:
    states, actions, horizon = 3, 2, 3
    transition, reward = random_mdps(1, states, actions)
    p, r = transition[0].double().numpy(), reward[0].double().numpy()
    best = np.full(states, -np.inf)
    for choice in itertools.product(range(actions), repeat=horizon * states):
        policy = np.reshape(choice, (horizon, states))
        earned = np.zeros(states)
        for path in itertools.product(range(states), repeat=horizon):
            probability, total = 1.0, 0.0
            for t, s in enumerate(path):
                total += r[s, policy[t, s]]
                if t + 1 < horizon:
                    probability *= p[s, policy[t, s], path[t + 1]]
            earned[path[0]] += probability * total
        best = np.maximum(best, earned)

    value = value_iteration(transition, reward, horizon)[0, 0].amax(-1)

    np.testing.assert_allclose(value.numpy(), best, rtol=1e-5)


@pytest.mark.parametrize("radius", [None, 0.3])
def test_a_row_alone_equals_the_row_in_a_batch_bitwise(radius: float | None) -> None:
    transition, reward = random_mdps(37, 10, 5)

    def plan(rows: slice) -> torch.Tensor:
        if radius is None:
            return value_iteration(transition[rows], reward[rows], 4)
        return extended_value_iteration(
            transition[rows], reward[rows], torch.full_like(reward[rows], radius), 4
        )

    together = plan(slice(None))

    for row in range(37):
        assert torch.equal(plan(slice(row, row + 1))[0], together[row])


@pytest.mark.parametrize("radius", [0.0, 0.1, 0.7, 1.9])
def test_the_optimistic_backup_solves_its_linear_program(radius: float) -> None:
    """Maximise p . v over the simplex with |p - estimate| <= radius; the slack variables are |p - estimate|."""
    states = 4
    transition, reward = random_mdps(1, states, 2)
    value = reward[0].amax(-1).double().numpy()
    eye = np.eye(states)

    q = extended_value_iteration(transition, reward, torch.full_like(reward, radius), 2)

    for s, a in itertools.product(range(states), range(2)):
        estimate = transition[0, s, a].double().numpy()
        answer = linprog(
            c=np.concatenate([-value, np.zeros(states)]),
            A_ub=np.block(
                [[eye, -eye], [-eye, -eye], [np.zeros((1, states)), np.ones((1, states))]]
            ),
            b_ub=np.concatenate([estimate, -estimate, [radius]]),
            A_eq=np.concatenate([np.ones(states), np.zeros(states)])[None],
            b_eq=[estimate.sum()],
        )
        assert float(q[0, 0, s, a]) == pytest.approx(float(reward[0, s, a]) - answer.fun, abs=1e-5)


def test_without_a_radius_extended_value_iteration_is_value_iteration() -> None:
    transition, reward = random_mdps(5, 10, 5)

    optimistic = extended_value_iteration(transition, reward, torch.zeros_like(reward), 10)

    torch.testing.assert_close(
        optimistic, value_iteration(transition, reward, 10), atol=1e-4, rtol=1e-5
    )


def test_with_radius_two_every_state_can_be_reached() -> None:
    transition, reward = random_mdps(5, 10, 5)

    q = extended_value_iteration(transition, reward, torch.full_like(reward, 2.0), 3)

    best = reward.amax((1, 2))
    torch.testing.assert_close(q[:, 0], reward + 2 * best[:, None, None])
