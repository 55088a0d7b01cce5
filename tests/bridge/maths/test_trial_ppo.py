"""PPO on whole trials: worked out step by step, blind to padding, and additive over parts of a batch."""

import math

import pytest
import torch

from bridge.maths.returns import ReturnScale
from bridge.maths.trial_ppo import (
    Losses,
    PpoTargets,
    explained_variance,
    live_mean,
    losses,
    ppo_targets,
)
from bridge.rng import Rows

LIVE = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 0, 1]]).bool()
"""Four trials of 3, 2, 1 and 3 steps."""
STEPS, LENGTH = 9, 9 / 4


def numbers(name: str) -> torch.Tensor:
    return Rows.of(name, torch.arange(3)).normal(4)


def batch(**changed) -> PpoTargets:
    made = PpoTargets(numbers("old") - 2, numbers("target"), numbers("gain"), LIVE, LENGTH)
    return made._replace(**changed)


def found(targets: PpoTargets, *, clip: float = 0.2, log_prob=None) -> Losses:
    log_prob = (
        targets.behaviour + 0.3 * numbers("step")[:, : targets.live.shape[1]]
        if log_prob is None
        else log_prob
    )
    return losses(log_prob, numbers("entropy"), numbers("score"), targets, clip=clip)


def test_losses_are_means_over_live_steps_written_out():
    targets, clip = batch(), 0.2
    log_prob = targets.behaviour + 0.3 * numbers("step")
    wanted = dict.fromkeys(Losses._fields, 0.0)
    for t, b in LIVE.nonzero().tolist():
        ratio = math.exp(log_prob[t, b] - targets.behaviour[t, b])
        limit = min(max(ratio, 1 - clip), 1 + clip)
        gain = targets.advantage[t, b].item()
        wanted["loss_policy"] -= min(ratio * gain, limit * gain) / STEPS
        wanted["loss_value"] += (numbers("score")[t, b] - targets.target[t, b]).item() ** 2 / STEPS
        wanted["entropy"] += numbers("entropy")[t, b].item() / STEPS
        wanted["clipped"] += (ratio != limit) / STEPS
        wanted["approx_kl"] += (ratio - 1 - math.log(ratio)) / STEPS
    assert 0 < wanted["clipped"] < 1
    assert {
        name: value.item() for name, value in found(targets)._asdict().items()
    } == pytest.approx(wanted, rel=1e-5)


def test_padding_is_nowhere_in_losses_and_gradients_even_where_its_ratio_is_infinite():
    targets = batch()
    rubbish = [
        torch.where(LIVE, part, 1000.0 * sign)
        for part, sign in zip(targets[:3], (-1, 1, 1), strict=True)
    ]
    results = []
    for each in (targets, PpoTargets(*rubbish, LIVE, LENGTH)):
        log_prob = (batch().behaviour + 0.3 * numbers("step")).requires_grad_()
        said = found(each, log_prob=log_prob)
        (gradient,) = torch.autograd.grad(said.loss_policy, log_prob)
        results.append((said, gradient))
    assert all(torch.equal(a, b) for a, b in zip(results[0][0], results[1][0], strict=True))
    assert torch.equal(results[0][1], results[1][1])
    assert (results[0][1][~LIVE] == 0).all()
    assert (results[0][1][LIVE] != 0).any()


def test_a_ratio_beyond_the_clip_has_no_gradient_where_it_would_gain():
    targets = batch(behaviour=torch.zeros(3, 4), advantage=torch.ones(3, 4))
    log_prob = torch.full((3, 4), 0.1).requires_grad_()
    log_prob.data[0] = 0.5
    said = losses(log_prob, numbers("e"), numbers("s"), targets, clip=0.2)
    assert said.clipped.item() == pytest.approx(4 / STEPS)
    assert not said.clipped.requires_grad
    (gradient,) = torch.autograd.grad(said.loss_policy, log_prob)
    assert (gradient[0] == 0).all()
    assert gradient[1, 0].item() == pytest.approx(-math.exp(0.1) / STEPS)


def test_the_total_loss_weighs_the_critic_and_subtracts_the_bonus():
    each = Losses(*(torch.tensor(x) for x in (1.0, 2.0, 4.0, 0.5, 0.25)))
    assert each.total(value_weight=0.5, bonus=0.125).item() == 1 + 0.5 * 2 - 0.125 * 4


def test_the_divergence_is_that_of_the_two_policies_where_actions_are_as_frequent_as_they_are_likely():
    """Old policy (1/2, 1/4, 1/4), new (1/4, 1/2, 1/4), actions 0, 0, 1, 2: KL(old || new) is log(2) / 4 exactly."""
    old, new = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.5, 0.25])
    action = torch.tensor([[0, 1], [0, 2]])
    live = torch.ones(2, 2, dtype=torch.bool)
    targets = PpoTargets(old.log()[action], torch.zeros(2, 2), torch.zeros(2, 2), live, 2.0)
    zeros = torch.zeros(2, 2)
    divergence = losses(new.log()[action], zeros, zeros, targets, clip=0.2).approx_kl
    assert divergence.item() == pytest.approx(math.log(2) / 4)
    assert losses(old.log()[action], zeros, zeros, targets, clip=0.2).approx_kl == 0


def test_the_divergence_has_no_gradient_and_is_finite_for_any_ratio():
    targets = batch(behaviour=torch.zeros(3, 4), advantage=torch.ones(3, 4))
    log_prob = torch.full((3, 4), 200.0).requires_grad_()
    each = losses(log_prob, numbers("e"), numbers("s"), targets, clip=0.2)
    assert not each.approx_kl.requires_grad
    assert each.loss_policy.item() == pytest.approx(-1.2)
    assert 1e20 < each.approx_kl.item() < math.inf


def test_explained_variance_by_hand():
    """Live targets 1 to 9 have variance 60 / 9. Half of each leaves a quarter; one error of 3 leaves 8 / 9 of 1."""
    target = torch.where(LIVE, LIVE.flatten().cumsum(0).view(3, 4).float(), 1000.0)
    targets = batch(target=target)

    def explained(score: torch.Tensor) -> float:
        return explained_variance(torch.where(LIVE, score, -1000.0), targets)

    assert explained(target) == 1
    assert explained(target + 5) == pytest.approx(1)  # a constant error has no variance
    assert explained(torch.full((3, 4), 7.0)) == pytest.approx(0, abs=1e-6)
    assert explained(target / 2) == pytest.approx(0.75)
    assert explained(-target) == pytest.approx(-3)
    off = target.clone()
    off[0, 0] += 3
    assert explained(off) == pytest.approx(1 - (8 / 9) / (60 / 9))


def test_equal_targets_have_nothing_to_explain():
    assert explained_variance(numbers("s"), batch(target=torch.full((3, 4), 0.1))) == 0


def test_means_over_equal_parts_average_to_that_of_the_whole_however_their_lengths_differ():
    each = numbers("each")
    halves = [
        live_mean(each[:, part], LIVE[:, part], LENGTH) for part in (slice(0, 2), slice(2, 4))
    ]
    assert sum(halves).item() / 2 == pytest.approx(each[LIVE].mean().item())
    assert live_mean(each, LIVE, LENGTH).item() == pytest.approx(each[LIVE].mean().item())


def test_columns_are_some_of_the_trials():
    rows = torch.tensor([3, 1])
    some = batch().columns(rows)
    for part, whole in zip(some[:4], batch()[:4], strict=True):
        assert torch.equal(part, whole[:, rows])
    assert some.length == LENGTH


def scale_of(reward: torch.Tensor) -> ReturnScale:
    made = ReturnScale(5)
    made.update(reward, LIVE, gamma=0.9)
    return made


def test_judged_by_hand():
    """Advantages run to a trial's last live step and no further; standardised over live steps; targets are scores."""
    reward, score = torch.where(LIVE, numbers("reward"), 0.0), numbers("score")
    scale, old = scale_of(reward), numbers("old")
    targets = ppo_targets(old, score, reward, LIVE, scale, length=LENGTH, gamma=0.9, lam=0.8)
    value = scale.mean[:3] + scale.square.sqrt() * score
    raw = torch.zeros(3, 4)
    for b, length in enumerate(LIVE.sum(0).tolist()):
        for t in reversed(range(length)):
            after = value[t + 1, b] if t + 1 < length else 0.0
            rest = raw[t + 1, b] if t + 1 < length else 0.0
            raw[t, b] = reward[t, b] + 0.9 * after - value[t, b] + 0.9 * 0.8 * rest
    live = raw[LIVE]
    standard = (live - live.mean()) / live.std(correction=0)
    torch.testing.assert_close(targets.advantage[LIVE], standard, atol=1e-5, rtol=0)
    wanted = (raw + value - scale.mean[:3]) / scale.square.sqrt()
    torch.testing.assert_close(targets.target[LIVE], wanted[LIVE], atol=1e-5, rtol=0)
    assert targets.behaviour is old
    assert targets.live is LIVE
    assert targets.length == LENGTH


def test_advantages_are_standardised_over_all_processes():
    """Where the averages are said to be 0.5 and 4, ours are less by 0.5 and divided by 2."""
    reward = torch.where(LIVE, numbers("reward"), 0.0)
    asked, told = [], iter((torch.tensor(0.5), torch.tensor(4.0)))
    known = (numbers("old"), numbers("score"), reward, LIVE, scale_of(reward))
    settings = {"length": LENGTH, "gamma": 0.9, "lam": 0.8}
    alone = ppo_targets(*known, **settings).advantage[LIVE]
    shared = ppo_targets(
        *known, **settings, average=lambda mine: (asked.append(mine.item()), next(told))[1]
    ).advantage[LIVE]
    raw = 2 * shared + 0.5
    torch.testing.assert_close((raw - raw.mean()) / raw.std(correction=0), alone, atol=1e-5, rtol=0)
    assert asked == pytest.approx([raw.mean().item(), (raw - 0.5).square().mean().item()], abs=1e-5)
