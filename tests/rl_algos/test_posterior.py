"""Products of Gaussian factors: against closed forms and a numerical product of densities."""

import pytest
import torch

from bridge.rng import Rows
from bridge.training.learner import seeded_init
from rl_algos.posterior import Encoder, Posterior, Sums


def sums(mean: torch.Tensor, sd: torch.Tensor) -> Sums:
    """Of the factors N(mean, sd^2), ``[T, D]``."""
    precision = sd**-2
    return Sums(precision.sum(0), (precision * mean).sum(0), (precision * mean**2).sum(0))


@pytest.mark.parametrize("n", [0, 1, 7])
def test_equal_factors_give_their_variance_divided_by_their_number_up_to_the_prior(n):
    mean, sd = torch.tensor([0.5, -2.0]), torch.tensor([0.1, 3.0])
    found = sums(mean.expand(n, 2), sd.expand(n, 2)).posterior()
    torch.testing.assert_close(1 / found.precision, 1 / (1 + n / sd**2))
    torch.testing.assert_close(found.mean, n / sd**2 * mean / (1 + n / sd**2))
    assert n > 0 or (found.mean == 0).all()


def test_the_posterior_is_the_normalised_product():
    """Against a numerical product of densities."""
    rng = Rows.of(0, torch.arange(4))
    mean, sd = (
        rng.at("m").normal(1, dtype=torch.float64),
        rng.at("s").uniform(1, dtype=torch.float64) + 0.3,
    )
    grid = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    log_density = -0.5 * grid**2 - (0.5 * ((grid - mean) / sd) ** 2).sum(0)
    weight = log_density.softmax(0)
    found = sums(mean, sd).posterior()
    torch.testing.assert_close(found.mean[0], (weight * grid).sum())
    torch.testing.assert_close(
        1 / found.precision[0], (weight * grid**2).sum() - (weight * grid).sum() ** 2
    )


def test_divergence_is_torchs_and_draws_are_from_the_posterior():
    made = Posterior(torch.tensor([0.3, -1.0]), torch.tensor([2.0, 9.0]))
    theirs = torch.distributions.Normal(made.mean, made.precision.rsqrt())
    want = torch.distributions.kl_divergence(theirs, torch.distributions.Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(made.divergence(), want)
    z = made.draw(Rows.of(0, torch.arange(20_000)).normal(2))
    assert ((z.mean(0) - made.mean).abs() < 4 * made.precision.rsqrt() / 20_000**0.5).all()
    assert ((z.var(0) * made.precision - 1).abs() < 4 * (2 / 20_000) ** 0.5).all()


def test_beginnings_are_sums_of_so_many():
    factors = Sums(*Rows.of(0, torch.arange(2)).normal(3, 7, 4).unbind(1))
    count = torch.tensor([[0, 3, 7], [1, 7, 0]])
    found = factors.beginnings(count)
    for i in range(2):
        for j in range(3):
            for part, whole in zip(found, factors, strict=True):
                torch.testing.assert_close(
                    part[i, j], whole[i, : count[i, j]].sum(0), atol=1e-5, rtol=0
                )


def test_totals_are_over_the_factors_that_count():
    factors = Sums(*Rows.of(0, torch.arange(2)).normal(3, 5, 3).unbind(1))
    known = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0]]).bool()
    found = factors.total(known)
    for part, whole in zip(found, factors, strict=True):
        torch.testing.assert_close(part[0], whole[0, 0] + whole[0, 2] + whole[0, 3])
        assert (part[1] == 0).all()


def test_sums_add_up():
    factors = Sums(*Rows.of(0, torch.arange(2)).normal(3, 4, 3).unbind(1))
    first, rest = (
        Sums(*(part[:, some].sum(1) for part in factors)) for some in (slice(0, 1), slice(1, 4))
    )
    for part, whole in zip(first.plus(rest), factors, strict=True):
        torch.testing.assert_close(part, whole.sum(1))


def test_disagreement_is_cochrans_q():
    """Against its definition; and 0 for a single factor, whatever it says."""
    rng = Rows.of(0, torch.arange(6))
    mean, sd = rng.at("m").normal(3), rng.at("s").uniform(3) + 0.3
    common = (mean / sd**2).sum(0) / (1 / sd**2).sum(0)
    torch.testing.assert_close(
        sums(mean, sd).disagreement(), (((mean - common) / sd) ** 2).sum(), rtol=1e-4, atol=1e-4
    )
    assert sums(mean[:1], sd[:1]).disagreement() < 1e-4
    assert sums(mean[:0], sd[:0]).disagreement() == 0


def test_disagreement_of_honest_factors_is_chi_squared():
    """n estimates with the variances that they claim: mean (n - 1) D, variance twice that."""
    n, dims, many = 5, 2, 4000
    rng = Rows.of(1, torch.arange(many))
    mean = rng.at("z").normal(1, dims) + 0.7 * rng.at("noise").normal(n, dims)
    precision = torch.full_like(mean, 0.7**-2)
    found = Sums(
        precision.sum(1), (precision * mean).sum(1), (precision * mean**2).sum(1)
    ).disagreement()
    df = (n - 1) * dims
    assert abs(found.mean() - df) < 4 * (2 * df / many) ** 0.5
    assert found.var() == pytest.approx(2 * df, rel=0.15)


def test_a_factor_is_made_of_one_transition_and_is_weak_at_first():
    with seeded_init(0):
        encoder = Encoder(inputs=5, latent=3, hidden=8)
    x = Rows.of(0, torch.arange(6)).normal(5)
    factors = encoder(x)
    assert factors.precision.shape == factors.weighted.shape == (6, 3)
    assert (factors.precision > 0).all()
    torch.testing.assert_close(factors.weighted / factors.precision, encoder.layers(x)[0][:, :3])
    assert factors.precision.median() < 0.1
    for part, alone in zip(factors, encoder(x[2:3]), strict=True):
        torch.testing.assert_close(part[2:3], alone)


def test_a_factors_precision_has_bounds():
    """So that no transition drowns all others, and none is divided by nothing."""
    with seeded_init(0):
        encoder = Encoder(inputs=1, latent=1, hidden=2)
    for raw, bound in ((1e9, 1e7), (-1e9, 1e-7)):
        encoder.layers.biases[-1].data[..., 1] = raw
        assert encoder(torch.zeros(1, 1)).precision.item() == pytest.approx(bound)
