"""One gradient of many: scale, tasks without a usable gradient, and the step that sets gradients."""

import pytest
import torch

from bridge.rng import Rows
from bridge.tasks import family
from rl_algos.concerns import combiners, combining
from rl_algos.concerns.combining import Equal, combine
from rl_algos.mtrl import Config, MtrlLearner

NAMES = [
    *("equal", "static", "grad_norm", "return_scaled"),
    *combiners.OF_ERRORS,
    *combiners.SURGERY,
]


def combiner(name: str, tasks: int = 4) -> combining.Combiner:
    weights = "+".join(["1"] * (tasks - 1))
    return combiners.make(
        name, weights, known=tasks - 1, together=tasks, shared="all", gamma=0.9, errors=True
    )


def conflicting(tasks: int = 4, size: int = 10) -> torch.Tensor:
    """Gradients of which two point against one another."""
    drawn = torch.randn(tasks, size, generator=torch.Generator().manual_seed(3))
    drawn[1] -= 1.5 * drawn[0]
    return drawn


def combined(gradients: torch.Tensor, name: str) -> combining.Combined:
    task = torch.arange(len(gradients))
    losses = torch.ones(len(gradients))
    return combine(gradients, losses, task, combiner(name, len(gradients)), Rows.of(0, task))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_the_direction_does_not_depend_on_the_gradients_scale(name, scale):
    gradients = conflicting()
    one, other = combined(gradients, name), combined(scale * gradients, name)
    assert torch.allclose(other.gradient / scale, one.gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [0.0, torch.nan, torch.inf])
def test_a_task_without_a_usable_gradient_is_left_out(name, bad):
    gradients = conflicting()
    more = torch.cat([gradients, torch.full((1, 10), bad)])
    found = combined(more, name)
    assert found.usable.tolist() == [True] * 4 + [False]
    assert found.weights[4] == 0
    assert torch.allclose(found.gradient * 5 / 4, combined(gradients, name).gradient, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_task_whose_loss_is_no_number_is_left_out_and_not_remembered(name, bad):
    gradients, task, rule = conflicting(3), torch.arange(3), combiner(name)
    losses = torch.tensor([1.0, bad, 1.0])
    for _ in range(2):
        found = combine(gradients, losses, task, rule, Rows.of(0, task))
    assert found.usable.tolist() == [True, False, True]
    assert not found.failed
    assert all(part.isfinite().all() for part in rule.state_dict().values())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(8))
def test_tasks_whose_gradients_differ_in_length_by_ten_thousand_have_a_direction(name, seed):
    """torchjd's CAGrad is zero at some of these, at its own threshold."""
    drawn = torch.randn(10, 200, generator=torch.Generator().manual_seed(seed))
    drawn[::2] /= 10_000
    found = combined(drawn, name)
    assert not found.failed
    assert found.gradient.isfinite().all()
    assert found.gradient.norm() > 1e-7 * drawn.norm()


@pytest.mark.parametrize("weights", [[torch.nan, 1.0], [0.0, 0.0], [torch.inf, 1.0]])
def test_a_combiner_that_finds_no_weights_is_replaced_by_the_mean(weights):
    class Failing(combining.Combiner):
        def forward(self, gramian, losses, task, rng):
            return torch.tensor(weights, dtype=gramian.dtype)

    gradients, task = conflicting(2), torch.arange(2)
    found = combine(gradients, torch.ones(2), task, Failing(), Rows.of(0, task))
    assert found.failed
    assert torch.allclose(found.gradient, gradients.mean(0), atol=1e-6)
    assert combining.metrics(found)["failed"] == 1.0
    assert not combined(gradients, "equal").failed


@pytest.mark.parametrize("name", NAMES)
def test_gradients_that_agree_have_their_mean_length(name):
    """Equal gradients are their own mean: combiners differ in direction and not in learning rate."""
    gradients = torch.ones(4, 10)
    assert torch.allclose(combined(gradients, name).gradient, torch.ones(10), rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_combine_equally_and_no_global_generator_moves(name):
    state = torch.get_rng_state()
    one, two = (combined(conflicting(9), name) for _ in range(2))
    assert torch.equal(one.gradient, two.gradient)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_usable_gradient_is_no_gradient():
    found = combined(torch.zeros(3, 5), "pcgrad")
    assert not found.usable.any()
    assert torch.equal(found.gradient, torch.zeros(5))


def test_conflicts_are_pairs_with_a_negative_cosine():
    """Cosines of the pairs: -1, 0, 0."""
    found = combined(torch.tensor([[1.0, 0], [-2.0, 0], [0, 3.0]]), "equal")
    assert found.conflicts == pytest.approx(1 / 3)
    assert found.cosine == pytest.approx(-1 / 3)


# --- the step ---------------------------------------------------------------------------------------------------------


def learner(**settings) -> MtrlLearner:
    config = Config(hidden=8, tasks_per_update=7, episodes_per_task=3, epochs=1, **settings)
    return MtrlLearner(family("gridnavi:tasks=3"), config, seed=0)


def gradients(made: MtrlLearner) -> list[torch.Tensor | None]:
    return [p.grad for p in made.table.parameters()]


@pytest.mark.parametrize("shared", ["all", "trunk"])
def test_equal_weights_are_the_gradient_of_the_mean_loss(shared):
    """Also if tasks have unlike numbers of slots, and one has none."""
    made = learner(shared=shared)
    task, episodes = made._play()
    assert len({int((task == n).sum()) for n in range(4)}) > 1
    losses, _ = made._losses(made.table.rows(task), episodes, 0.01)
    losses.mean().backward()
    expected = [None if g is None else g.clone() for g in gradients(made)]
    copies = made.table.copies(task)
    losses, _ = made._losses(copies, episodes, 0.01)
    rng = Rows.of(0, torch.arange(4))
    combining.backward(losses, copies, made.table, task, Equal(), rng)
    for found, wanted in zip(gradients(made), expected, strict=True):
        if wanted is not None:
            assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-7)


def test_a_slot_with_a_bad_loss_moves_only_what_is_shared_less():
    """The other tasks are combined without its task, whose own parameters stay."""
    made = learner()
    task = torch.tensor([0, 1, 2])
    copies = made.table.copies(task)
    losses = torch.stack([p.flatten(1).square().sum(1) for p in copies.values()]).sum(0)
    losses = losses * torch.tensor([1.0, torch.nan, 1.0])
    rng = Rows.of(0, torch.arange(4))
    found = combining.backward(losses, copies, made.table, task, Equal(), rng)
    assert found is not None
    assert found.usable.tolist() == [True, False, True]
    table = made.table.parameter("body.0.bias")
    assert table.grad is not None
    assert torch.equal(table.grad[1], torch.zeros_like(table[1]))
    assert torch.allclose(table.grad[0], 2 * table[0].detach() / 3)
    weight = made.table.parameter("head.weight")
    assert torch.allclose(weight.grad, 2 * weight.detach() * 2 / 3)


def test_combiners_are_given_the_mean_loss_of_each_tasks_slots():
    class Seen(Equal):
        def forward(self, gramian, losses, task, rng):
            self.seen = losses, task
            return super().forward(gramian, losses, task, rng)

    made, rule = learner(), Seen()
    task = torch.tensor([2, 0, 2])
    copies = made.table.copies(task)
    losses = torch.stack([p.flatten(1).square().sum(1) for p in copies.values()]).sum(0)
    losses = losses * torch.tensor([1.0, 2.0, 3.0])
    combining.backward(losses, copies, made.table, task, rule, Rows.of(0, torch.arange(4)))
    expected = torch.stack([losses[1], losses[[0, 2]].mean()]).double()
    assert torch.allclose(rule.seen[0], expected)
    assert rule.seen[1].tolist() == [0, 2]
