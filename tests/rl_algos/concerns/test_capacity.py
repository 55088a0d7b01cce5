"""Networks for capacity limits: exact identities with simpler networks, then with a loop."""

import pytest
import torch

from bridge.tasks.base import Box, Discrete
from rl_algos.concerns.capacity import (
    KINDS,
    ExpertsPolicy,
    FilmPolicy,
    SideBySide,
    SoftModulesPolicy,
    network,
    orthonormal,
)
from rl_algos.policies import MlpPolicy

OBS, ACT = Box((-1.0,) * 3, (1.0,) * 3), Discrete(5)
INPUT = torch.linspace(-1, 1, 12).view(4, 3)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_film_that_neither_scales_nor_shifts_is_a_perceptron() -> None:
    film, plain = FilmPolicy(OBS, ACT, 6, 2), MlpPolicy(OBS, ACT, 6, 2)
    plain.load_state_dict(film.state_dict(), strict=False)

    same(film(INPUT), plain(INPUT))


def test_film_shifts_as_a_bias_and_scales_as_a_factor_of_weights() -> None:
    film, plain = FilmPolicy(OBS, ACT, 6, 2), MlpPolicy(OBS, ACT, 6, 2)
    film.shift.data.normal_()
    film.scale.data.normal_()
    plain.load_state_dict(film.state_dict(), strict=False)
    for k, layer in enumerate(plain.body[::2]):
        assert isinstance(layer, torch.nn.Linear)
        layer.weight.data *= 1 + film.scale[k][:, None]
        layer.bias.data = (1 + film.scale[k]) * layer.bias + film.shift[k]

    same(film(INPUT), plain(INPUT))


def test_side_by_side_equals_one_layer_after_another() -> None:
    both = SideBySide(2, 3, 4)
    both.bias.data.normal_()
    inputs = torch.randn(5, 2, 3)

    for k in range(2):
        alone = torch.tanh(inputs[:, k] @ both.weight[k] + both.bias[k])
        same(both(inputs)[:, k], alone)


def test_an_expert_alone_is_a_perceptron_of_its_own() -> None:
    made = ExpertsPolicy(OBS, ACT, 6, 2, experts=3, orthogonal=False)
    made.mixture.data = torch.tensor([0.0, 2.0, 0.0])
    plain = MlpPolicy(OBS, ACT, 6, 2)
    for layer, experts in zip((plain.body[0], plain.body[2]), made.bodies, strict=True):
        assert isinstance(experts, SideBySide)
        layer.weight.data, layer.bias.data = experts.weight[1].T, experts.bias[1]
    plain.head.load_state_dict(made.head.state_dict())

    same(made(INPUT), plain.head(torch.tanh(2.0 * plain.body(INPUT))))


def test_gram_schmidt_keeps_the_span_and_the_order() -> None:
    rows = torch.randn(4, 3, 7, dtype=torch.float64)
    basis = orthonormal(rows)

    same(basis @ basis.mT, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    q, r = torch.linalg.qr(rows.mT)
    same(basis.mT, q * r.diagonal(dim1=1, dim2=2).sign()[:, None])


def test_a_row_that_depends_on_others_vanishes_and_its_gradient_is_finite() -> None:
    rows = torch.ones(1, 3, 4, requires_grad=True)
    basis = orthonormal(rows)
    basis.sum().backward()

    assert basis[0, 1:].abs().max() < 1e-3
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_soft_modules_equal_a_loop_over_modules() -> None:
    made = SoftModulesPolicy(OBS, ACT, 8, 3, modules=2)
    made.embedding.data.normal_()
    made.head.weight.data.normal_()
    both = made.embedding * made.observed(INPUT)
    outputs = [torch.tanh(INPUT @ made.first.weight[j] + made.first.bias[j]) for j in range(2)]
    logits = made.ways[0](torch.relu(both))
    for layer in range(2):
        if layer:
            logits = made.ways[1](torch.relu(made.chosen[0](logits) * both))
        share = logits.view(4, 2, 2).softmax(-1)
        later = made.later[layer]
        assert isinstance(later, SideBySide)
        outputs = [
            torch.tanh(
                sum(share[:, j, i, None] * outputs[i] for i in range(2)) @ later.weight[j]
                + later.bias[j]
            )
            for j in range(2)
        ]

    same(made(INPUT), made.head(outputs[0] + outputs[1]))


@pytest.mark.parametrize("name", KINDS)
def test_what_a_task_owns_changes_what_it_plays(name) -> None:
    made = network(name, OBS, ACT, hidden=8, layers=2, experts=2)
    made.head.weight.data.normal_()
    before = made(INPUT)
    for owned in made.owned:
        made.get_parameter(owned).data += torch.randn_like(made.get_parameter(owned))

    assert before.shape == (4, 5)
    assert (made(INPUT) - before).abs().max() > 1e-3
