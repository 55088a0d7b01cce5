"""Counting against a dictionary, and the posterior against scipy."""

from collections import defaultdict

import numpy as np
import torch
from scipy import stats

from bridge.protocol import Step
from bridge.references.mdp.belief import Counts, count, no_counts, posterior_draw, posterior_mean
from bridge.rng import Rows

ROWS, STATES, ACTIONS, STEPS = 6, 10, 5, 40
LEAST_P = 1e-3


def random_steps(*, with_dead_rows: bool) -> list[Step]:
    """Steps that a simulator might have made; dead rows carry a reward that nobody may count."""
    steps = []
    for t in range(STEPS):
        noise = Rows.of("steps", torch.arange(ROWS)).at(t)
        obs, next_obs = noise.at("obs").integers(STATES), noise.at("next").integers(STATES)
        action, reward = noise.at("action").integers(2), noise.at("reward").normal()
        live = noise.at("live").uniform() < 0.7 if with_dead_rows else None
        never = torch.zeros(ROWS, dtype=torch.bool)
        steps.append(Step(obs, action, reward, next_obs, never, never, live))
    return steps


def counted(steps: list[Step]) -> Counts:
    counts = no_counts(Rows.of(0, torch.arange(ROWS)), STATES, ACTIONS)
    for step in steps:
        counts = count(counts, step)
    return counts


def repeated(rows: int) -> Counts:
    """The same counts in every row: some pairs untried, some tried once, some often."""
    counts = counted(random_steps(with_dead_rows=False))
    counts.next_states[0, 0, 0, :3] = torch.tensor([40.0, 3.0, 1.0])
    return Counts(*(leaf[:1].expand(rows, *leaf.shape[1:]) for leaf in counts))


def test_counts_are_those_of_a_dictionary() -> None:
    steps = random_steps(with_dead_rows=True)
    seen: defaultdict[tuple[int, ...], float] = defaultdict(float)
    paid: defaultdict[tuple[int, ...], list[float]] = defaultdict(list)
    for step in steps:
        assert step.live is not None
        for b in range(ROWS):
            if step.live[b]:
                s, a, s_next = int(step.obs[b]), int(step.action[b]), int(step.next_obs[b])
                seen[b, s, a, s_next] += 1
                paid[b, s, a].append(float(step.reward[b]))

    counts = counted(steps)
    mean = posterior_mean(counts)

    for (b, s, a, s_next), n in seen.items():
        tries = len(paid[b, s, a])
        assert counts.next_states[b, s, a, s_next] == n
        assert counts.visits[b, s, a] == tries
        np.testing.assert_allclose(
            mean.transition[b, s, a, s_next], (1 + n) / (STATES + tries), rtol=1e-6
        )
        np.testing.assert_allclose(
            mean.reward[b, s, a], (1 + sum(paid[b, s, a])) / (1 + tries), rtol=1e-5, atol=1e-6
        )
    assert counts.next_states.sum() == sum(seen.values())


def test_what_was_never_tried_keeps_its_prior() -> None:
    mean = posterior_mean(counted(random_steps(with_dead_rows=False)), prior_mean=1.0)

    torch.testing.assert_close(mean.transition[:, :, 4], torch.full((ROWS, STATES, STATES), 0.1))
    assert bool((mean.reward[:, :, 4] == 1).all())


def test_drawn_transitions_are_dirichlet() -> None:
    draws = 20_000
    counts = repeated(draws)
    transition = posterior_draw(counts, Rows.of(0, torch.arange(draws))).transition.double().numpy()

    for s, a in [(0, 0), (1, 0), (0, 4)]:
        law = stats.dirichlet(1 + counts.next_states[0, s, a].double().numpy())
        z = (transition[:, s, a].mean(0) - law.mean()) / np.sqrt(law.var() / draws)
        assert np.abs(z).max() < 4
        np.testing.assert_allclose(transition[:, s, a].var(0), law.var(), rtol=0.06)
        marginal = stats.beta(law.alpha[1], law.alpha.sum() - law.alpha[1])
        assert stats.kstest(transition[:, s, a, 1], marginal.cdf).pvalue > LEAST_P


def test_drawn_rewards_are_normal() -> None:
    draws = 20_000
    counts = repeated(draws)
    reward = posterior_draw(counts, Rows.of(0, torch.arange(draws))).reward.numpy()

    for s, a in [(0, 0), (1, 0), (0, 4)]:
        visits, total = float(counts.visits[0, s, a]), float(counts.reward_sum[0, s, a])
        law = stats.norm((1 + total) / (1 + visits), (1 + visits) ** -0.5)
        assert stats.kstest(reward[:, s, a], law.cdf).pvalue > LEAST_P


def test_components_of_a_draw_are_as_correlated_as_scipy_says() -> None:
    draws = 20_000
    counts = repeated(draws)
    transition = (
        posterior_draw(counts, Rows.of(1, torch.arange(draws))).transition[:, 0, 0].double().numpy()
    )

    law = stats.dirichlet(1 + counts.next_states[0, 0, 0].double().numpy())

    np.testing.assert_allclose(np.cov(transition.T), law.cov(), atol=6e-5)


def test_draws_of_pairs_and_rows_do_not_touch_each_other() -> None:
    counts = counted(random_steps(with_dead_rows=False))
    rng = Rows.of(0, torch.arange(ROWS))
    before = posterior_draw(counts, rng)

    alone = posterior_draw(Counts(*(leaf[2:3] for leaf in counts)), rng[2:3])
    counts.next_states[2, 3, 1, 5] += 1
    after = posterior_draw(counts, rng)

    assert torch.equal(alone.transition[0], before.transition[2])
    assert torch.equal(alone.reward[0], before.reward[2])
    moved = (after.transition != before.transition).any(-1).nonzero().tolist()
    assert moved == [[2, 3, 1]]


def test_later_episodes_draw_anew() -> None:
    counts = repeated(1)
    rng = Rows.of(0, torch.arange(1))

    first, second = (posterior_draw(counts, rng.at("agent", episode)) for episode in (0, 1))

    assert not bool((first.transition == second.transition).any())
    assert not bool((first.reward == second.reward).any())
