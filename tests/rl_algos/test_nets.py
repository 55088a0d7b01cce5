"""Each recurrence unrolled equals itself stepped, and the hand-written backward pass equals autograd's."""

import pytest
import torch
from torch import nn

from rl_algos.nets import CORES, Gru


def example(name: str, dtype=torch.float64):
    torch.manual_seed(0)
    core = CORES[name](3, 4, 10).to(dtype)
    return core, torch.randn(9, 5, 3, dtype=dtype), torch.randn(5, core.state_size, dtype=dtype)


@pytest.mark.parametrize("name", CORES)
def test_unrolled_equals_stepped(name):
    core, x, state = example(name)
    whole = core.unroll(x, state)
    for t in range(len(x)):
        state = core.step(x[t], state)
        torch.testing.assert_close(whole[t], state[:, : core.output_size], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", CORES)
def test_gradients_unrolled_equal_gradients_stepped(name):
    core, x, first = example(name)
    weight = torch.randn(len(x), len(first), core.output_size, dtype=x.dtype)

    def stepped(x, state):
        out = []
        for t in range(len(x)):
            state = core.step(x[t], state)
            out.append(state[:, : core.output_size])
        return torch.stack(out)

    for make in (core.unroll, stepped):
        inputs = [x.clone().requires_grad_(), first.clone().requires_grad_()]
        loss = (make(*inputs) * weight).sum()
        found = torch.autograd.grad(loss, [*inputs, *core.parameters()])
        if make == core.unroll:
            expected = found
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)


def test_gru_passes_gradcheck_and_equals_torch():
    core, x, state = example("gru")
    assert isinstance(core, Gru)
    parameters = [core.cell.weight_hh, core.cell.bias_hh]
    assert torch.autograd.gradcheck(
        lambda x, state, *_: core.unroll(x, state),
        [x.requires_grad_(), state.requires_grad_(), *parameters],
    )
    theirs = nn.GRU(3, 4).double()
    theirs.load_state_dict({f"{key}_l0": value for key, value in core.cell.state_dict().items()})
    torch.testing.assert_close(core.unroll(x, state), theirs(x, state[None])[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", CORES)
def test_rows_do_not_mix(name):
    core, x, state = example(name)
    torch.testing.assert_close(
        core.unroll(x, state)[:, 2:3], core.unroll(x[:, 2:3], state[2:3]), atol=1e-12, rtol=0
    )
