"""Surgery: PCGrad written out, torchjd's own results, and what is missing."""

import sys

import pytest
import torch
from torchjd import aggregation

from bridge.errors import UserError
from bridge.rng import Rows
from rl_algos.concerns.combining import combine
from rl_algos.concerns.interference import SURGERY, NashMtl, TorchJd
from tests.rl_algos.concerns.test_combining import combined, conflicting

THEIRS = {
    "upgrad": aggregation.UPGrad(),
    "mgda": aggregation.MGDA(),
    "cagrad": aggregation.CAGrad(c=0.5),
    "nash_mtl": aggregation.NashMTL(n_tasks=4),
    "aligned_mtl": aggregation.AlignedMTL(),
    "dual_proj": aggregation.DualProj(),
    "fair_grad": aggregation.FairGrad(alpha=1.0),
}
FREE = ("cagrad", "nash_mtl", "fair_grad")
"""Those whose length is not kept."""


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", THEIRS)
def test_well_scaled_gradients_are_combined_as_torchjd_does(name):
    gradients = conflicting()
    gradients = gradients / gradients.norm(dim=1).square().mean().sqrt()
    theirs, mine = THEIRS[name](gradients), combined(gradients, name).gradient
    if name in FREE:
        theirs = theirs * (mine.norm() / theirs.norm())
    assert torch.allclose(mine, theirs, rtol=2e-3, atol=2e-4)


def written_out(gradients: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """PCGrad on the gradients themselves, one projection after another."""
    projected = []
    for i, gradient in enumerate(gradients):
        mine = gradient.clone()
        for j in order[i].tolist():
            if j != i and mine @ gradients[j] < 0:
                mine -= (mine @ gradients[j]) / (gradients[j] @ gradients[j]) * gradients[j]
        projected.append(mine)
    return torch.stack(projected).mean(0)


@pytest.mark.parametrize("tasks", [2, 3, 9])
def test_pcgrad_projects_one_after_another_in_an_order_of_each_task(tasks):
    gradients, task = conflicting(tasks, 5), torch.arange(tasks)
    rng = Rows.of(7, task)
    order = rng.at("order").uniform(tasks).argsort(1)
    found = combine(gradients, torch.ones(len(task)), task, SURGERY["pcgrad"](), rng)
    assert torch.allclose(found.gradient, written_out(gradients, order), atol=1e-6)


def test_pcgrad_is_that_of_torchjd_in_its_order(monkeypatch):
    gradients, task = conflicting(6, 4), torch.arange(6)
    rng = Rows.of(7, task)
    orders = iter(rng.at("order").uniform(6).argsort(1))
    monkeypatch.setattr(torch, "randperm", lambda _: next(orders))
    theirs = aggregation.PCGrad()(gradients) / 6
    assert torch.allclose(
        combine(gradients, torch.ones(len(task)), task, SURGERY["pcgrad"](), rng).gradient,
        theirs,
        atol=1e-6,
    )


def test_two_tasks_that_conflict_are_projected_by_hand():
    """(2, 0) and (-1, 1): off one another they are (1, 1) and (0, 1)."""
    found = combined(torch.tensor([[2.0, 0.0], [-1.0, 1.0]]), "pcgrad")
    assert torch.allclose(found.gradient, torch.tensor([0.5, 1.0]))


def test_surgery_that_promises_it_harms_no_task():
    """The combined gradient of UPGrad, MGDA and DualProj has no negative product with a task's."""
    gradients = conflicting(4, 20)
    assert (gradients @ gradients.mean(0)).min() < 0
    for name in ("upgrad", "mgda", "dual_proj"):
        product = gradients @ combined(gradients, name).gradient
        assert product.min() > -5e-3, name


def test_a_bargain_of_nash_is_proportional_fairness():
    """The fixed points of Nash-MTL and of FairGrad with alpha 1 are the same."""
    nash, fair = (combined(conflicting(), name).gradient for name in ("nash_mtl", "fair_grad"))
    assert torch.allclose(nash, fair, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("make", [lambda: TorchJd("UPGrad"), NashMtl])
def test_without_torchjd_it_is_refused_with_the_remedy(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(UserError, match=r"needs torchjd and its solvers .*metabridge\[concerns\]"):
        make()


def test_without_a_solver_it_is_refused_by_name(monkeypatch):
    def missing(*_args, **_settings):
        raise ImportError("UPGradWeighting requires quadprog.\nInstall it.")

    monkeypatch.setattr(aggregation, "UPGradWeighting", missing)
    with pytest.raises(UserError, match=r"UPGrad needs .*requires quadprog\)\. Install them"):
        TorchJd("UPGrad")
