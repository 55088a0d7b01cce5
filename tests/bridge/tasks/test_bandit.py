"""The bandit's distributions, its axes, and its one-step episodes."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from bridge.errors import UserError
from bridge.rng import Rows
from bridge.tasks import family
from bridge.tasks.bandit import Bandit

N = 20_000


def means(made: Bandit, split: str = "id") -> np.ndarray:
    return made.sample(split, torch.arange(N)).params["means"].numpy().astype(float)


def rewards(made: Bandit, split: str = "id", arm: int = 0) -> np.ndarray:
    tasks = made.sample(split, torch.arange(N))
    state, _ = made.reset(tasks, Rows.of(0, torch.arange(N)))
    return (
        made.step(tasks, state, torch.full((N,), arm), Rows.of(0, torch.arange(N)))
        .reward.numpy()
        .astype(float)
    )


def test_means_are_uniform():
    assert stats.kstest(means(Bandit(k=5)).ravel(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("level", "tilt"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0)])
def test_prior_axis_stays_in_the_beta_family(level, tilt):
    assert (
        stats.kstest(
            means(Bandit(k=2), f"shift/prior/{level}").ravel(), stats.beta(1, 1 + tilt).cdf
        ).pvalue
        > 1e-3
    )


def test_gap_axis_squeezes_means_towards_one_half():
    squeezed, own = means(Bandit(), "shift/gap/3"), means(Bandit())
    np.testing.assert_allclose(squeezed, 0.5 + 0.4 * (own - 0.5), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "values"), [("easy", {0.1, 0.9}), ("medium", {0.25, 0.75}), ("hard", {0.4, 0.6})]
)
def test_dependent_arms(kind, values):
    made = means(Bandit(k=2, arms=f"dependent_{kind}"))
    assert set(np.unique(made.round(6))) == values
    np.testing.assert_allclose(made.sum(1), 1.0, atol=1e-6)
    assert (made[:, 0] > 0.5).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("kind", "distance"), [("hard", 0.2), ("easy", 0.5)])
def test_one_best_arms(kind, distance):
    """Task i of each stream: arm i % k is best, and the others are alike. No draw is made."""
    made = Bandit(k=4, arms=f"one_best_{kind}")
    by_hand = 0.5 + distance * (np.eye(4) - 0.5)
    for split in ("train", "id_val", "id"):
        assert made.support(split) == 4
        np.testing.assert_allclose(means(made, split)[:9], by_hand[np.arange(9) % 4], atol=1e-6)
    squeezed = means(made, "shift/gap/4")[:4]
    np.testing.assert_allclose(squeezed, 0.5 + 0.2 * (by_hand - 0.5), atol=1e-6)


def test_axes_are_those_that_have_a_meaning():
    """A list of k tasks has no prior to tilt, and no quarter of its tasks to negate."""
    shared = {"changes", "gap", "horizon", "reward_scale"}
    assert set(Bandit(arms="one_best_hard").axes) == shared
    assert set(Bandit(k=2, arms="dependent_hard").axes) == shared
    assert set(Bandit().axes) == shared | {"prior", "reward_sign"}


def test_bernoulli_rewards_have_their_arms_mean():
    made = Bandit(k=3)
    got, mean = rewards(made, arm=1), means(made)[:, 1]
    assert set(np.unique(got)) == {0.0, 1.0}
    assert (got - mean).mean() == pytest.approx(0.0, abs=4 * 0.5 / np.sqrt(N))
    assert np.corrcoef(got, mean)[0, 1] > 0.5


@pytest.mark.parametrize(
    ("split", "sd"), [("id", 0.3), ("shift/reward_noise/1", 0.0), ("shift/reward_noise/3", 1.0)]
)
def test_gaussian_rewards(split, sd):
    made = Bandit(arms="gaussian")
    noise = rewards(made, split) - means(made)[:, 0]
    assert noise.std() == pytest.approx(sd, abs=0.02)
    if sd:
        assert stats.kstest(noise / sd, "norm").pvalue > 1e-3


def test_offset_axis_moves_every_mean_and_no_difference():
    made = Bandit(arms="gaussian")
    for level, offset in enumerate((-0.5, -1.0, 0.5, 1.0), 1):
        np.testing.assert_allclose(
            means(made, f"shift/offset/{level}"), means(made) + offset, atol=1e-6
        )
        found = rewards(made, f"shift/offset/{level}")
        np.testing.assert_allclose(found, rewards(made) + offset, atol=1e-5)


def test_bernoulli_axis_pays_0_or_1_with_the_same_mean_in_a_nested_share_of_tasks():
    made, before = Bandit(arms="gaussian"), np.zeros(N, bool)
    for level, share in enumerate((0.25, 0.5, 0.75, 1.0), 1):
        got, mean = rewards(made, f"shift/bernoulli/{level}"), means(made)[:, 0]
        whole = np.isin(got, (0.0, 1.0))
        assert whole.mean() == pytest.approx(share, abs=0.02)
        assert whole[before].all()
        np.testing.assert_array_equal(got[~whole], rewards(made)[~whole])
        assert (got - mean)[whole].mean() == pytest.approx(0.0, abs=4 * 0.5 / np.sqrt(N * share))
        assert np.corrcoef(got[whole], mean[whole])[0, 1] > 0.5
        before = whole


def test_the_prior_of_a_split_tells_the_spread_of_its_rewards():
    """Of rewards about their own means, over all tasks of the split."""
    made = Bandit(arms="gaussian")
    for split in ("id", "shift/bernoulli/2", "shift/bernoulli/4", "shift/reward_noise/3"):
        spread = (rewards(made, split) - means(made)[:, 0]).std()
        assert made.prior(split).sd == pytest.approx(spread, rel=0.03)


@pytest.mark.parametrize(("level", "factor"), [(1, 0.1), (4, 10.0)])
def test_reward_scale_multiplies_the_very_same_rewards(level, factor):
    np.testing.assert_allclose(
        rewards(Bandit(), f"shift/reward_scale/{level}"), factor * rewards(Bandit()), rtol=1e-6
    )


def test_reward_sign_negates_nested_shares_of_tasks():
    shares = [
        (Bandit().sample(f"shift/reward_sign/{i}", torch.arange(N)).params["factor"] < 0)
        for i in range(1, 5)
    ]
    for flipped, share in zip(shares, (0.25, 0.5, 0.75, 1.0), strict=True):
        assert flipped.float().mean().item() == pytest.approx(share, abs=0.02)
    assert all(bool((low <= high).all()) for low, high in pairwise(shares))


def test_horizon_axis_is_a_number_of_pulls():
    made = Bandit(n=10)
    assert [made.trial(f"shift/horizon/{i}").episodes for i in range(5)] == [10, 5, 15, 20, 40]
    assert all(made.trial(s).horizon == 1 for s in made.splits)


def test_streams_are_independent():
    made = Bandit(k=2)
    train, val, test = (
        made.sample(s, torch.arange(N)).params["means"][:, 0].numpy()
        for s in ("train", "id_val", "id")
    )
    assert abs(np.corrcoef(train, val)[0, 1]) < 0.03
    assert abs(np.corrcoef(val, test)[0, 1]) < 0.03


def test_a_pull_is_an_episode_that_terminates():
    made = Bandit()
    tasks = made.sample("id", torch.arange(4))
    outcome = made.step(
        tasks,
        *made.reset(tasks, Rows.of(0, torch.arange(4)))[:1],
        torch.zeros(4, dtype=torch.int64),
        Rows.of(0, torch.arange(4)),
    )
    assert bool(outcome.terminated.all())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bandit:k=1", "k from 2 to"),
        ("bandit:n=0", "n from 1 to"),
        ("bandit:k=5,arms=dependent_easy", "come in pairs"),
        ("bandit:k=4,arms=one_best_hard,tasks=5", "has 4 training tasks; found tasks=5"),
        ("bandit:arms=bernouli", "Did you mean 'bernoulli'"),
        ("bandit:kk=3", "Did you mean 'k'"),
        ("bandit:k=five", "a whole number, found 'five'"),
        ("bandid", "Did you mean 'bandit'"),
        ("bandit:k", "key=value"),
        ("bandit:k=2,k=3", "twice"),
        ("bandit:tasks=-1", "bandit needs tasks 0 or more; found -1"),
    ],
)
def test_bad_specs_are_refused_with_the_remedy(spec, message):
    with pytest.raises(UserError, match=message):
        family(spec)


def test_unknown_splits_are_refused_with_the_nearest_name():
    for name, message in (
        ("idd", "'id'"),
        ("shift/gapp/1", "Did you mean 'gap'"),
        ("shift/gap/7", "0 .trained. to 4"),
    ):
        with pytest.raises(UserError, match=message):
            Bandit().split(name)


def test_name_and_hash_tell_variants_apart():
    specs = [
        "bandit",
        "bandit:k=2",
        "bandit:n=100",
        "bandit:arms=gaussian",
        "bandit:k=2,arms=dependent_easy",
        "bandit:arms=one_best_easy",
        "bandit:arms=one_best_hard",
        "bandit:tasks=8",
    ]
    made = [family(s) for s in specs]
    assert made[0].id == "bandit:k=5,n=10"
    assert len({m.hash for m in made}) == len({m.id for m in made}) == len(specs)
    assert all(family(m.id) == m for m in made)


def test_fixed_training_tasks_are_n_distinct_ones():
    made = family("bandit:tasks=8")
    drawn = made.sample("train", torch.arange(80)).params["means"]
    assert len(drawn.unique(dim=0)) == 8
    assert made.support("id") is None
