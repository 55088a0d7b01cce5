"""Distributions of actions: normalised, drawn as they are judged, and inside the space."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bridge import spaces
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete

BOX = Box((-0.1, 2.0), (0.3, 10.0))


def test_features_are_one_hot_or_scaled():
    assert spaces.features(torch.tensor([2, -1]), Discrete(3)).tolist() == [[0, 0, 1], [0, 0, 0]]
    found = spaces.features(torch.tensor([[-0.1, 10.0], [0.1, 6.0]]), BOX)
    torch.testing.assert_close(found, torch.tensor([[-1.0, 1.0], [0.0, 0.0]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("space", [Discrete(4), BOX])
def test_before_the_first_action_there_are_only_zeros(space):
    rng = Rows.of(0, torch.arange(5))
    found = spaces.features(spaces.nothing_yet(space, rng), space)
    torch.testing.assert_close(found, torch.zeros(5, spaces.width(space)), atol=1e-6, rtol=0)


def test_categorical_is_drawn_as_it_is_judged():
    made, n = spaces.Categorical(Discrete(3)), 40_000
    logits = torch.tensor([0.3, -1.0, 1.2]).expand(n, 3)
    action = made.decide(logits, Rows.of(0, torch.arange(n))).action
    log_p, entropy = made.log_prob_and_entropy(logits[:3], torch.arange(3))
    chance = log_p.exp()
    torch.testing.assert_close(chance.sum(), torch.tensor(1.0))
    found = action.bincount(minlength=3) / n
    assert ((found - chance).abs() < 4 * (chance * (1 - chance) / n).sqrt()).all()
    torch.testing.assert_close(entropy[0], -(chance * chance.log()).sum())
    assert (made.decide(logits, None).action == 2).all()


def test_beta_is_drawn_as_it_is_judged():
    made, n = spaces.ScaledBeta(BOX), 40_000
    out = torch.tensor([0.5, -1.0, 2.0, 0.0]).expand(n, 4)
    decision = made.decide(out, Rows.of(0, torch.arange(n)))
    low, high = torch.tensor(BOX.low), torch.tensor(BOX.high)
    assert ((decision.action >= low) & (decision.action <= high)).all()
    log_prob, entropy = made.log_prob_and_entropy(out, decision.action)
    spread = log_prob.std() / n**0.5
    assert (-log_prob.mean() - entropy[0]).abs() < 4 * spread
    assert decision.params is not None
    a, b = decision.params[0].unbind(-1)
    mean = low + (high - low) * a / (a + b)
    assert ((decision.action.mean(0) - mean).abs() < 4 * decision.action.std(0) / n**0.5).all()


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_is_a_power_of_the_density(temperature):
    """Among n draws at a temperature T, the mean of any g is that of draws at 1 weighted by density^(1/T - 1)."""
    n = 200_000
    rng = Rows.of(0, torch.arange(n))
    for made, out in (
        (spaces.Categorical(Discrete(3)), torch.tensor([0.3, -1.0, 1.2])),
        (spaces.ScaledBeta(BOX), torch.tensor([0.5, -1.0, 2.0, 0.0])),
    ):
        out = out.expand(n, -1)
        plain, tempered = (
            made.decide(out, rng, heat).action.float() for heat in (1.0, temperature)
        )
        log_p, _ = made.log_prob_and_entropy(out, plain if out.shape[1] == 4 else plain.long())
        weight = ((1 / temperature - 1) * log_p).softmax(0)
        weight = weight if plain.dim() == 1 else weight[:, None]
        expected = (weight * plain).sum(0)
        spread = ((weight * (plain - expected)).square().sum(0) + tempered.var(0) / n).sqrt()
        assert ((tempered.mean(0) - expected).abs() < 4 * spread).all()


@pytest.mark.parametrize("kind", [spaces.ClippedGaussian, spaces.SquashedGaussian])
def test_the_variance_of_a_gaussian_grows_with_the_temperature(kind):
    """A density to the power of 1/T has T times the variance; in a wide box nothing is clipped or squashed."""
    made, n = kind(Box((-1.0,), (1.0,))), 100_000
    out = torch.tensor([0.0, -4.0]).expand(n, 2)
    cool, warm = (
        made.decide(out, Rows.of(0, torch.arange(n)), heat).action.var() for heat in (0.5, 2.0)
    )
    assert (warm / cool).item() == pytest.approx(4.0, rel=0.01)


@pytest.mark.parametrize(
    "made",
    [
        spaces.Categorical(Discrete(4)),
        *(kind(BOX) for kind in (spaces.ScaledBeta, spaces.ClippedGaussian)),
    ],
)
def test_at_temperature_zero_the_likeliest_action_is_taken(made):
    out, rng = torch.tensor([[0.5, -1.0, 2.0, 0.0]]).expand(6, 4), Rows.of(0, torch.arange(6))
    assert torch.equal(made.decide(out, rng, 0.0).action, made.decide(out, None).action)


def test_beta_density_integrates_to_one_in_the_units_of_the_box():
    made = spaces.ScaledBeta(BOX)
    sides = list(zip(BOX.low, BOX.high, strict=True))
    grids = [torch.linspace(low, high, 401)[:-1] + (high - low) / 800 for low, high in sides]
    points = torch.cartesian_prod(*grids)
    out = torch.tensor([0.5, -1.0, 2.0, 0.0]).expand(len(points), 4)
    cell = math.prod((high - low) / 400 for low, high in sides)
    density = made.log_prob_and_entropy(out, points)[0].exp()
    assert abs(density.sum().item() * cell - 1) < 1e-3
    best = made.decide(out[:1], None).action[0]
    assert made.log_prob_and_entropy(out[0], best)[0].exp() >= density.max() - 1e-4


@pytest.mark.parametrize(
    ("up", "down", "share"),
    [(-120, -120, 0.5), (-17, -17, 0.5), (-30, -31, 1 / (1 + math.exp(-1)))],
)
def test_a_beta_that_is_nearly_uniform_has_a_mode(up, down, share):
    """Both parameters round to 1; what is beyond 1 tells the likeliest action, and the middle where nothing is."""
    made = spaces.ScaledBeta(Box((0.0,), (10.0,)))
    assert made.decide(
        torch.tensor([[float(up), float(down)]]), None
    ).action.item() == pytest.approx(10 * share, rel=1e-5)


def test_rounding_makes_no_draw_impossible():
    made = spaces.ScaledBeta(BOX)
    edges = torch.tensor([BOX.low, BOX.high])
    assert torch.isfinite(made.log_prob_and_entropy(torch.full((2, 4), 30.0), edges)[0]).all()


MEANS_AND_LOG_SDS = torch.tensor([0.5, -0.9, -0.3, 0.4])


def test_a_clipped_gaussian_is_a_normal_inside_the_box_and_its_tails_at_the_bounds():
    made = spaces.ClippedGaussian(BOX)
    mean, log_sd = MEANS_AND_LOG_SDS.chunk(2)
    low, high = torch.tensor(BOX.low), torch.tensor(BOX.high)
    normal = torch.distributions.Normal(
        (low + high) / 2 + (high - low) / 2 * mean, (high - low) / 2 * log_sd.exp()
    )
    inside = torch.tensor([[0.0, 3.0], [0.29, 9.9], [-0.05, 5.0]])
    found, _ = made.log_prob_and_entropy(MEANS_AND_LOG_SDS.expand(3, 4), inside)
    torch.testing.assert_close(found, normal.log_prob(inside).sum(-1))
    corner, _ = made.log_prob_and_entropy(
        MEANS_AND_LOG_SDS, torch.tensor([BOX.low[0], BOX.high[1]])
    )
    tails = torch.stack([normal.cdf(low)[0], 1 - normal.cdf(high)[1]])
    torch.testing.assert_close(corner, tails.log().sum(), atol=1e-4, rtol=1e-4)


def test_a_clipped_gaussian_is_drawn_as_it_is_judged():
    made, n = spaces.ClippedGaussian(BOX), 40_000
    action = made.decide(MEANS_AND_LOG_SDS.expand(n, 4), Rows.of(0, torch.arange(n))).action
    low, high = torch.tensor(BOX.low), torch.tensor(BOX.high)
    assert ((action >= low) & (action <= high)).all()
    for side in range(2):
        one = spaces.ClippedGaussian(Box((BOX.low[side],), (BOX.high[side],)))
        for bound in (low[side], high[side]):
            chance = (
                one.log_prob_and_entropy(MEANS_AND_LOG_SDS[[side, 2 + side]], bound[None])[0]
                .exp()
                .item()
            )
            share = (action[:, side] == bound).float().mean().item()
            assert abs(share - chance) < 4 * (chance * (1 - chance) / n) ** 0.5


def test_the_normal_tail_is_right_far_out_and_differentiable_twice():
    x = torch.linspace(-30, 8, 400, dtype=torch.float64, requires_grad=True)
    found, exact = spaces._log_normal_cdf(x), torch.special.log_ndtr(x)
    torch.testing.assert_close(found, exact, atol=1e-12, rtol=1e-12)
    for _ in range(2):
        found, exact = (
            torch.autograd.grad(y.sum(), x, create_graph=True)[0] for y in (found, exact)
        )
        torch.testing.assert_close(found, exact, atol=1e-7, rtol=1e-7)


def squashed_out(n: int) -> torch.Tensor:
    return torch.tensor([0.5, -1.0, 0.3, -0.7]).expand(
        n, 4
    )  # two means, two logarithms of standard deviations


def test_squashed_gaussian_has_torchs_density():
    """Against ``TransformedDistribution``, for draws and for actions that are judged."""
    made, n = spaces.SquashedGaussian(BOX), 1000
    out, noise = (
        squashed_out(n).double(),
        Rows.of(0, torch.arange(n)).normal(2, dtype=torch.float64),
    )
    action, log_prob = made.draw(out, noise)
    low, high = torch.tensor(BOX.low).double(), torch.tensor(BOX.high).double()
    steps = [
        torch.distributions.TanhTransform(),
        torch.distributions.AffineTransform((low + high) / 2, (high - low) / 2, event_dim=0),
    ]
    mean, log_sd = out.chunk(2, -1)
    theirs = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, log_sd.exp()), steps
    )
    inside = ((action - low) / (high - low) - 0.5).abs().amax(
        -1
    ) < 0.4999  # theirs inverts the tanh
    want = theirs.log_prob(action).sum(-1)[inside]
    assert inside.float().mean() > 0.9
    torch.testing.assert_close(log_prob[inside], want, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        made.log_prob_and_entropy(out, action)[0][inside], want, atol=1e-4, rtol=0
    )


def test_squashed_density_integrates_to_one_in_the_units_of_the_box():
    made = spaces.SquashedGaussian(BOX)
    sides = list(zip(BOX.low, BOX.high, strict=True))
    grids = [torch.linspace(low, high, 801)[:-1] + (high - low) / 1600 for low, high in sides]
    points = torch.cartesian_prod(*grids)
    cell = math.prod((high - low) / 800 for low, high in sides)
    density = made.log_prob_and_entropy(squashed_out(len(points)), points)[0].exp()
    assert abs(density.sum().item() * cell - 1) < 2e-3


def test_squashed_gaussian_is_drawn_as_it_is_judged():
    made, n = spaces.SquashedGaussian(BOX), 40_000
    out, rng = squashed_out(n), Rows.of(0, torch.arange(n))
    decision = made.decide(out, rng)
    low, high = torch.tensor(BOX.low), torch.tensor(BOX.high)
    assert ((decision.action >= low) & (decision.action <= high)).all()
    assert torch.equal(decision.action, made.draw(out, rng.normal(2))[0])
    log_prob, entropy = made.log_prob_and_entropy(out, decision.action)
    assert (-log_prob.mean() - entropy[0]).abs() < 4 * log_prob.std() / n**0.5
    middle = made.decide(out[:1], None).action[0]
    torch.testing.assert_close(
        middle, low + (high - low) * (1 + torch.tensor([0.5, -1.0]).tanh()) / 2
    )
    below = (decision.action < middle).float().mean(0)
    assert ((below - 0.5).abs() < 4 * 0.5 / n**0.5).all()  # a tanh keeps the median


def test_draws_have_gradients_and_extreme_outputs_stay_finite():
    made = spaces.SquashedGaussian(BOX)
    out = torch.tensor([[30.0, -30.0, 9.0, -90.0]], requires_grad=True)
    action, log_prob = made.draw(out, torch.tensor([[1.0, -1.0]]))
    (action.sum() + log_prob.sum()).backward()
    assert torch.isfinite(action).all()
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(out.grad).all()
    edges = torch.tensor([BOX.low, BOX.high])
    assert torch.isfinite(made.log_prob_and_entropy(out.detach().expand(2, 4), edges)[0]).all()


def test_soft_actions_fit_the_space():
    assert isinstance(spaces.soft_actions(Discrete(3)), spaces.Categorical)
    assert isinstance(spaces.soft_actions(BOX), spaces.SquashedGaussian)


def fitted(made, label, steps=400):
    """The mean negative log-likelihood of labels under the one distribution that was fitted to them."""
    out = torch.zeros(1, made.outputs, requires_grad=True)
    adam = torch.optim.Adam([out], lr=0.1)
    for _ in range(steps):
        adam.zero_grad()
        loss = -made.log_prob_and_entropy(out.expand(len(label), -1), label)[0].mean()
        loss.backward()
        adam.step()
    return loss.item()


@pytest.mark.parametrize("up", [0.5, 0.7, 1.0])
def test_a_clipped_gaussian_can_be_fitted_to_actions_at_the_bounds_and_a_beta_cannot(up):
    """Labels are at the upper bound, or else at the lower: the least that any fit can have is their entropy."""
    side, n = Box((-0.1,), (0.1,)), 1000
    label = torch.where(torch.arange(n) < up * n, 0.1, -0.1)[:, None]
    entropy = torch.special.entr(torch.tensor([up, 1 - up])).sum().item()
    clipped, beta = (
        fitted(spaces.actions(side, kind), label) for kind in ("clipped_gaussian", "beta")
    )
    assert (
        entropy - 1e-3 < clipped < entropy + 0.35
    )  # with the widest normal, a share stays between the bounds
    if up < 1:
        assert beta == pytest.approx(
            math.log(0.2), abs=0.05
        )  # the uniform: it says nothing of which bound it is


def test_uniform_values_fill_their_space() -> None:
    rows = Rows.of("uniform", torch.arange(2_000))
    numbers = spaces.uniform(Discrete(3), rows)
    assert numbers.dtype == torch.int64
    assert torch.equal(numbers.unique(), torch.arange(3))
    sides = spaces.uniform(Box((-0.5, 2.0), (0.5, 6.0)), rows)
    assert sides.dtype == torch.float32
    expected = torch.tensor([[-0.5, 2.0], [0.5, 6.0]])
    torch.testing.assert_close(torch.stack(sides.aminmax(dim=0)), expected, atol=0.02, rtol=0)
    torch.testing.assert_close(sides.mean(0), torch.tensor([0.0, 4.0]), atol=0.1, rtol=0)


def test_random_play_fills_a_box_whatever_the_observations_are() -> None:
    family: Any = SimpleNamespace(action=Box((-0.5,), (0.5,)))
    rows = Rows.of("uniform", torch.arange(2_000))
    obs = torch.zeros(2_000, dtype=torch.int64)
    action = Random(family).act(None, obs, rows, explore=True).action
    assert action.dtype == torch.float32
    assert [action.min().item(), action.max().item()] == pytest.approx([-0.5, 0.5], abs=0.01)
