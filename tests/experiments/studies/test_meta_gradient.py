"""The exact values that estimates of the meta-gradient are measured against."""

import pytest
import torch

from bridge.noise import TrialNoise
from bridge.rng import Rows
from experiments.studies.meta_gradient import ALPHA, HORIZON, ExactMdp
from rl_algos import per_task


def test_the_value_is_that_of_played_episodes():
    mdp, rows = ExactMdp(), torch.arange(2_000)
    start = mdp.inner.start(len(rows))
    tasks = mdp.family.sample("train", torch.zeros_like(rows))
    played = per_task.roll_out(
        mdp.inner.policy, start, mdp.family, tasks, TrialNoise.of(0, rows), 2
    )
    returns = played.reward.sum(-1).mean(1)
    value = mdp.value(mdp.start(1)).item()
    assert abs(returns.mean().item() - value) < 4 * returns.std().item() / len(rows) ** 0.5


def test_the_exact_meta_gradient_is_that_of_finite_differences():
    mdp = ExactMdp()
    exact, plain = mdp.exact()

    def after_a_step(move: torch.Tensor) -> tuple[float, float]:
        params, used = {}, 0
        for name, p in mdp.start(1).items():
            params[name] = (p.detach() + move[used : used + p.numel()].view_as(p)).requires_grad_()
            used += p.numel()
        here = mdp.value(params).sum()
        slope = torch.autograd.grad(here, list(params.values()))
        after = {
            name: p + ALPHA / HORIZON * g
            for (name, p), g in zip(params.items(), slope, strict=True)
        }
        return here.item(), mdp.value(after).item()

    for seed in range(4):
        way = Rows.of(seed, torch.arange(1)).normal(len(exact), dtype=torch.float64)[0]
        (here_up, up), (here_down, down) = after_a_step(1e-5 * way), after_a_step(-1e-5 * way)
        for found, gradient in (((up - down) / 2e-5, exact), ((here_up - here_down) / 2e-5, plain)):
            assert found == pytest.approx(float(gradient @ way), rel=1e-5, abs=1e-6)


def test_estimates_of_one_batch_share_its_episodes_and_differ_by_what_they_keep():
    mdp = ExactMdp()
    lvc, again, maml = (mdp.estimates(name, 5, 20) for name in ("lvc", "lvc", "maml"))
    assert torch.equal(lvc, again)
    assert lvc.shape == (20, len(mdp.exact()[0]))
    assert (lvc - maml).norm() > 0.1 * lvc.norm()
