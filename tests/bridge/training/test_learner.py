"""What learners share: a state that goes and comes back whole, and first weights that only a seed decides."""

import pytest
import torch
from torch import nn

from bridge.errors import DivergenceError
from bridge.training.learner import (
    CheckpointedLearner,
    backward,
    descend,
    descend_if_finite,
    share_of_rate,
)
from bridge.training.workers import Workers
from tests.bridge.toys import Corridor


class Small(CheckpointedLearner):
    checkpointed = ("layer", "optimizer")

    def _build(self) -> None:
        self.layer = nn.Linear(2, 1)
        self.optimizer = torch.optim.Adam(self.layer.parameters())

    def update(self) -> None:
        self.layer(torch.ones(2)).backward()
        self.optimizer.step()
        self.env_steps += 7
        self.grad_steps += 1
        self.updates += 1


def small(seed: int) -> Small:
    return Small(Corridor(), None, seed=seed)


def test_a_state_is_the_parts_and_the_counters_and_comes_back():
    one, two = small(0), small(1)
    one.update()
    one.update()
    state = one.state_dict()
    assert list(state) == ["layer", "optimizer", "env_steps", "grad_steps", "updates"]
    assert [state[name] for name in ("env_steps", "grad_steps", "updates")] == [14, 2, 2]
    two.load_state_dict(state)
    assert (two.env_steps, two.grad_steps, two.updates) == (14, 2, 2)
    assert (Small.env_steps, small(0).env_steps) == (0, 0)
    assert torch.equal(two.layer.weight, one.layer.weight)
    assert torch.equal(two.layer.bias, one.layer.bias)
    assert two.optimizer.state_dict()["state"][0]["step"] == 2


def test_a_seed_decides_the_first_weights_and_nobody_outside_sees_the_draws():
    before = torch.get_rng_state()
    one, same, other = (small(seed).layer.weight for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_rate_rises_and_falls() -> None:
    shares = [share_of_rate(spent, 0.2) for spent in (0.0, 0.1, 0.5, 1.0, 1.3)]
    assert shares == pytest.approx([0.005, 0.505, 0.5, 0.0, 0.0])
    assert share_of_rate(0.0, 0.0) == 1


def test_a_gradient_step_is_no_longer_than_its_norm_allows() -> None:
    x = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([x], lr=1.0)
    norm = descend(10 * x.square().sum() / 2, optimizer, [x], 0.5, Workers())
    assert norm.item() == pytest.approx(50)
    assert x.tolist() == pytest.approx([2.7, 3.6], abs=1e-5)


def test_no_step_is_taken_along_a_gradient_that_is_not_finite() -> None:
    x = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([x], lr=1.0)
    norm = descend_if_finite(x.sum() * torch.inf, optimizer, [x], 0.5, Workers())
    assert norm.item() == torch.inf
    with pytest.raises(DivergenceError, match="a loss or its gradient is no longer a number"):
        descend(x.sum() * torch.inf, optimizer, [x], 0.5, Workers())
    assert x.tolist() == [3, 4]


def test_a_loss_that_is_no_number_stops_a_training() -> None:
    x = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([x], lr=1.0)
    with pytest.raises(DivergenceError):
        descend(x.sum() + torch.tensor(torch.nan), optimizer, [x], 0.5, Workers())


def test_only_the_optimisers_own_parameters_get_gradients() -> None:
    x, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([x], lr=1.0)
    for _ in range(2):  # gradients do not add up
        backward((2 * x * other).sum(), optimizer, [x], Workers())
    assert x.grad is not None
    assert x.grad.tolist() == [2, 2]
    assert other.grad is None
