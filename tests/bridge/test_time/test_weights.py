"""Weights of each trial's own in one network: equal to a network a trial."""

import copy

import pytest
import torch
from torch import nn

from bridge import memory
from bridge.errors import UserError
from bridge.rng import Rows
from bridge.tasks.base import Discrete
from bridge.test_time.weights import Combined, PerTrialWeights
from bridge.training.learner import seeded_init
from llm_adapt.policy import build
from rl_algos.nets import CORES

N, EACH = 3, 2


class Recurrent(nn.Module):
    """A core, step by step over five inputs."""

    def __init__(self, core: str) -> None:
        super().__init__()
        self.core, self.head = CORES[core](4, 6, 5), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x.new_zeros(len(x), self.core.state_size)
        for x_t in x.unbind(1):
            state = self.core.step(x_t, state)
        return self.head(state[:, :6])


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    with seeded_init(0):
        x = torch.randn(N * EACH, 5, 4, dtype=torch.float64)
        if name in CORES:
            return Recurrent(name).double(), x
        if name == "mlp":
            return nn.Sequential(
                nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 2)
            ).double(), x
        policy = (
            build(name, Discrete(4), Discrete(3), hidden=16, layers=2, heads=2, positions=8)
            .double()
            .eval()
        )
        return policy, torch.randn(N * EACH, 5, policy.layout.width, dtype=torch.float64)


def outputs_of(made: nn.Module, x: torch.Tensor) -> torch.Tensor:
    out = made(x)
    return out if isinstance(out, torch.Tensor) else out.out


@pytest.mark.parametrize("name", ["mlp", *CORES, "llama", "qwen3", "gpt2"])
def test_outputs_and_gradients_are_those_of_a_network_a_trial(name):
    made, x = network(name)
    tuner = PerTrialWeights()
    own = tuner.new(made, Rows.of(0, torch.arange(N)))
    with seeded_init(1):
        own = {
            key: (leaf + 0.1 * torch.randn_like(leaf)).requires_grad_() for key, leaf in own.items()
        }
    with tuner.on(made, own):
        out = outputs_of(made, x)
    out.square().sum().backward()
    for n in range(N):
        alone, mine = copy.deepcopy(made), slice(n * EACH, (n + 1) * EACH)
        alone.load_state_dict({key: leaf[n].detach() for key, leaf in own.items()}, strict=False)
        theirs = outputs_of(alone, x[mine])
        torch.testing.assert_close(out[mine], theirs, atol=1e-9, rtol=0)
        theirs.square().sum().backward()
        for key, weights in alone.named_parameters():
            if weights.grad is None:
                continue
            gradient = own[key].grad
            assert gradient is not None
            torch.testing.assert_close(gradient[n], weights.grad, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ["mlp", "gru", "llama"])
def test_new_weights_leave_the_outputs_as_they_are_and_nothing_stays_behind(name):
    made, x = network(name)
    before, tuner = (
        {key: leaf.clone() for key, leaf in made.state_dict().items()},
        PerTrialWeights(),
    )
    plain = outputs_of(made, x)
    own = tuner.new(made, Rows.of(0, torch.arange(N)))
    with tuner.on(made, own):
        torch.testing.assert_close(outputs_of(made, x), plain, atol=1e-12, rtol=0)
    own = {key: leaf + 1 for key, leaf in own.items()}
    with tuner.on(made, own):
        assert not torch.allclose(outputs_of(made, x), plain)
        with pytest.raises(RuntimeError):
            made(x[..., :1])
    with pytest.raises(KeyError), tuner.on(made, {}):
        pass
    assert torch.equal(outputs_of(made, x), plain)
    assert all(torch.equal(leaf, before[key]) for key, leaf in made.state_dict().items())


def test_some_modules_by_name_and_several_tuners_together():
    made, x = network("llama")
    head, embedding = PerTrialWeights(("actor",)), PerTrialWeights(("embed", "critic"))
    both = Combined((head, embedding))
    own = memory.fork(both.new(made, Rows.of(0, torch.arange(N))))
    assert [sorted(part) for part in own] == [
        ["actor.bias", "actor.weight"],
        ["critic.bias", "critic.weight", "embed.bias", "embed.weight"],
    ]
    own[0]["actor.bias"][1] += 1
    plain = outputs_of(made, x)
    with both.on(made, own):
        moved = outputs_of(made, x) - plain
    torch.testing.assert_close(
        moved[EACH : 2 * EACH], torch.ones_like(moved[:EACH]), atol=1e-9, rtol=0
    )
    torch.testing.assert_close(moved[:EACH], torch.zeros_like(moved[:EACH]), atol=1e-9, rtol=0)
    with pytest.raises(
        UserError, match=r"no module 'head' to tune.*There are: actor, backbone, critic, embed"
    ):
        PerTrialWeights(("head",)).modules(made)
