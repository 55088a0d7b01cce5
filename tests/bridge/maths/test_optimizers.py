"""Optimisers of many rows: torch's own, a model a row; and a row that stands still."""

import torch

from bridge.maths.optimizers import adam, no_moments, sgd


def rows(seed: int, count: int = 3) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    return {
        "b": torch.randn(count, 2, generator=made, dtype=torch.float64),
        "w": torch.randn(count, 4, 2, generator=made, dtype=torch.float64),
    }


def test_thirty_steps_are_torchs_with_a_model_a_row():
    own, scale = rows(0), torch.tensor([0.1, 1.0, 30.0], dtype=torch.float64)
    moments = no_moments(own)
    theirs = [[own[name][n].clone().requires_grad_() for name in own] for n in range(3)]
    optimizers = [torch.optim.Adam(one, lr=0.03) for one in theirs]
    for step in range(30):
        gradients = {
            name: g * scale.view(-1, *[1] * (g.dim() - 1)) for name, g in rows(1 + step).items()
        }
        own, moments, taken = adam(own, list(gradients.values()), moments, lr=0.03, max_norm=2.0)
        assert taken.all()
        for n, (one, optimizer) in enumerate(zip(theirs, optimizers, strict=True)):
            for weights, name in zip(one, own, strict=True):
                weights.grad = gradients[name][n].clone()
            torch.nn.utils.clip_grad_norm_(one, 2.0)
            optimizer.step()
    for n, one in enumerate(theirs):
        for weights, name in zip(one, own, strict=True):
            torch.testing.assert_close(own[name][n], weights.detach(), atol=1e-6, rtol=0)
    assert moments.steps.tolist() == [30] * 3


def test_a_row_whose_gradient_is_no_number_stands_still_and_the_others_go_on():
    own = rows(0)
    before = {name: leaf.clone() for name, leaf in own.items()}
    gradients = list(rows(1).values())
    alone, _, _ = adam(own, [g.clone() for g in gradients], no_moments(own), lr=0.1, max_norm=1.0)
    gradients[0][1, 0] = torch.nan
    after, moments, taken = adam(own, gradients, no_moments(own), lr=0.1, max_norm=1.0)
    assert taken.tolist() == [True, False, True]
    assert moments.steps.tolist() == [1, 0, 1]
    for name in own:
        assert torch.equal(after[name][1], before[name][1])
        assert torch.equal(after[name][[0, 2]], alone[name][[0, 2]])
        assert not torch.equal(after[name][0], before[name][0])
        assert not moments.first[name][1].any()


def test_plain_steps_are_torchs_with_a_model_a_row_and_gradients_flow_through_them():
    own, scale = rows(0), torch.tensor([0.1, 1.0, 30.0], dtype=torch.float64)
    gradients = {name: g * scale.view(-1, *[1] * (g.dim() - 1)) for name, g in rows(1).items()}
    leaves = [leaf.requires_grad_() for leaf in gradients.values()]
    moved, taken = sgd(own, leaves, lr=0.3, max_norm=2.0)
    assert taken.all()
    for n in range(3):
        one = [own[name][n].clone().requires_grad_() for name in own]
        for weights, name in zip(one, own, strict=True):
            weights.grad = gradients[name][n].detach().clone()
        torch.nn.utils.clip_grad_norm_(one, 2.0)
        torch.optim.SGD(one, lr=0.3).step()
        for weights, name in zip(one, own, strict=True):
            torch.testing.assert_close(moved[name][n], weights, atol=1e-6, rtol=0)
    through = torch.autograd.grad(moved["b"].sum(), leaves[0])[0]
    assert through[0].tolist() == [
        -0.3,
        -0.3,
    ]  # this row's gradient is short: nothing is scaled down
    leaves[0].data[1, 0] = torch.inf
    moved, taken = sgd(own, leaves, lr=0.3, max_norm=2.0)
    assert taken.tolist() == [True, False, True]
    assert torch.equal(moved["b"][1], own["b"][1])
