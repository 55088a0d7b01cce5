"""What learners share: a state that goes and comes back whole, and first weights that only a seed decides."""

import torch
from torch import nn

from bridge.training.learner import CheckpointedLearner, seeded_init


class Small(CheckpointedLearner):
    checkpointed = ("layer", "optimizer")

    def __init__(self, seed: int) -> None:
        with seeded_init(seed):
            self.layer = nn.Linear(2, 1)
        self.optimizer = torch.optim.Adam(self.layer.parameters())

    def update(self) -> None:
        self.layer(torch.ones(2)).backward()
        self.optimizer.step()
        self.env_steps += 7
        self.grad_steps += 1
        self.updates += 1


def test_a_state_is_the_parts_and_the_counters_and_comes_back():
    one, two = Small(0), Small(1)
    one.update()
    one.update()
    state = one.state_dict()
    assert list(state) == ["layer", "optimizer", "env_steps", "grad_steps", "updates"]
    assert [state[name] for name in ("env_steps", "grad_steps", "updates")] == [14, 2, 2]
    two.load_state_dict(state)
    assert (two.env_steps, two.grad_steps, two.updates) == (14, 2, 2)
    assert (Small.env_steps, Small(0).env_steps) == (0, 0)
    assert torch.equal(two.layer.weight, one.layer.weight)
    assert torch.equal(two.layer.bias, one.layer.bias)
    assert two.optimizer.state_dict()["state"][0]["step"] == 2


def test_a_seed_decides_the_first_weights_and_nobody_outside_sees_the_draws():
    before = torch.get_rng_state()
    one, same, other = (Small(seed).layer.weight for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
