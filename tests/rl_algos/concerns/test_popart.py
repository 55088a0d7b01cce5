"""PopArt: statistics in closed form, and values that stay as they are when statistics move."""

import pytest
import torch

from bridge.rng import Rows
from rl_algos.concerns.popart import PopArt, Unscaled

NOISE = Rows.of("popart", torch.arange(30))
TARGETS = 1_000 * NOISE.normal(4) - 3_000
"""30 batches of 4 targets."""
FIRST = torch.tensor([0])


def layer(tasks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases of two networks of three inputs and five outputs."""
    drawn = Rows.of("layer", torch.arange(tasks))
    return drawn.at("w").normal(2, 3, 5), drawn.at("b").normal(2, 1, 5)


def values(unit: Unscaled, layer: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """The values ``[T, Q, 1, O]`` of an input, in units of reward and float64."""
    weight, bias = layer
    outputs = torch.tensor([[0.3, -1.0, 2.0]]) @ weight + bias
    mean, scale = (part[:, None, None, None] for part in unit.statistics(torch.arange(len(weight))))
    return mean + scale * outputs.double()


def test_the_first_targets_have_mean_0_and_variance_1():
    unit = PopArt(2)
    unit.update(TARGETS[:2], torch.arange(2), [])
    found = unit.normalised(TARGETS[:2], torch.arange(2))
    torch.testing.assert_close(found.mean(1), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.var(1, unbiased=False), torch.ones(2))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_all_targets_so_far_have_mean_0_and_variance_1_if_steps_are_small(scale):
    unit = PopArt(1, step=1e-9)
    for row in scale * TARGETS:
        unit.update(row[None], FIRST, [])
    found = unit.normalised(scale * TARGETS.flatten()[None], FIRST)
    assert found.mean().item() == pytest.approx(0, abs=1e-5)
    assert found.var(unbiased=False).item() == pytest.approx(1, abs=1e-5)


def test_statistics_are_those_of_batches_that_fade():
    """Closed form: batch k of t has the weight (1 - step)^(t - k), over the sum of weights."""
    unit = PopArt(1, step=0.2)
    for row in TARGETS:
        unit.update(row[None], FIRST, [])
    weight = 0.8 ** torch.arange(29, -1, -1, dtype=torch.float64)
    weight = (weight / weight.sum() / 4)[:, None]
    mean = (weight * TARGETS).sum()
    variance = (weight * (TARGETS - mean) ** 2).sum()
    torch.testing.assert_close(unit.mean[0], mean)
    torch.testing.assert_close(unit.variance[0], variance)


def test_values_stay_as_they_are_to_rounding_while_statistics_move():
    unit, layers = PopArt(3), [layer(3), layer(3)]
    unit.update(TARGETS[:3], torch.arange(3), layers)
    assert torch.equal(layers[0][0], layer(3)[0])  # nothing was learned before the first unit
    for move in (lambda y: 100 * y + 7, lambda y: y / 1_000, lambda y: 5 - y):
        before = [values(unit, each) for each in layers]
        outputs = layers[0][0].clone()
        unit.update(move(TARGETS[3:6]), torch.arange(3), layers)
        assert not torch.allclose(layers[0][0], outputs, rtol=0.01)
        for each, expected in zip(layers, before, strict=True):
            torch.testing.assert_close(values(unit, each), expected, rtol=1e-5, atol=1e-2)


def test_tasks_that_are_absent_keep_everything():
    unit, layers = PopArt(3), [layer(3)]
    unit.update(TARGETS[:3], torch.arange(3), layers)
    old = [part.clone() for part in (*layers[0], unit.mean, unit.variance)]
    unit.update(TARGETS[3:5], torch.tensor([2, 0]), layers)
    for part, before in zip((*layers[0], unit.mean, unit.variance), old, strict=True):
        assert torch.equal(part[1], before[1])
        assert not torch.equal(part[0], before[0])


def test_slots_of_a_task_are_one_batch():
    one, two = PopArt(2), PopArt(2)
    one.update(TARGETS[:3], torch.tensor([1, 0, 1]), [])
    two.update(TARGETS[1:2], torch.tensor([0]), [])
    two.update(TARGETS[[0, 2]].view(1, 8), torch.tensor([1]), [])
    for mine, theirs in zip(one.buffers(), two.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_targets_that_are_no_numbers_are_ignored(bad):
    unit, layers = PopArt(2), [layer(2)]
    unit.update(TARGETS[:2], torch.arange(2), layers)
    mean = unit.mean.clone()
    targets = TARGETS[2:4].clone()
    targets[0, 1] = bad
    unit.update(targets, torch.arange(2), layers)
    assert unit.mean[0] == mean[0]
    assert unit.mean[1] != mean[1]
    assert all(part.isfinite().all() for part in layers[0])


@pytest.mark.parametrize("reward", [0.0, 0.1, -1e6])
def test_targets_that_differ_by_rounding_at_most_have_no_scale_and_are_0(reward):
    unit, layers = PopArt(1), [layer(1)]
    for step in range(3):
        unit.update(torch.full((1, 7), reward * (1 + step * 1e-7)), FIRST, layers)
    assert unit.variance >= 0
    assert unit.statistics(FIRST)[1] == 0
    assert not unit.normalised(torch.full((1, 7), reward), FIRST).any()
    assert torch.equal(layers[0][0], layer(1)[0])


def test_without_popart_values_are_outputs():
    unit, layers = Unscaled(), [layer(1)]
    unit.update(TARGETS[:1], FIRST, layers)
    assert torch.equal(unit.normalised(TARGETS[:1], FIRST), TARGETS[:1])
    assert [part.item() for part in unit.statistics(FIRST)] == [0.0, 1.0]
    assert torch.equal(layers[0][0], layer(1)[0])
