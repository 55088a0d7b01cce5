"""MAML: the contract, the counters, what every variant does, and that it learns to adapt."""

import copy

import numpy as np
import pytest
import torch
from torch.func import functional_call

from bridge.conformance import AGENT_CHECKS
from bridge.errors import DivergenceError, UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.maths.baselines import standardised
from bridge.tasks import family as make_family
from rl_algos.maml import Config, MamlLearner
from rl_algos.per_task import Episodes
from tests.bridge.toys import Corridor, Reach

SMALL = {"hidden": 8, "tasks_per_update": 4, "episodes_per_step": 3, "inner_steps": 2}


def learner(family="bandit:k=3,n=12", *, seed: int = 0, **settings) -> MamlLearner:
    made = make_family(family) if isinstance(family, str) else family
    return MamlLearner(made, Config(**(SMALL | settings)), seed=seed)


def weights(made: MamlLearner) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in made.inner.policy.parameters()])


@pytest.mark.parametrize(
    "family",
    [
        "bandit:k=3,n=12",
        Corridor(),
        Reach(),
        pytest.param("gridnavi", marks=pytest.mark.slow),
        pytest.param("tabular_mdp:n=4", marks=pytest.mark.slow),
    ],
)
def test_keeps_the_contract(family):
    made = learner(family)
    made.update()
    made.inner.double()
    for check in AGENT_CHECKS.values():
        check(made.agent(), made.family, tolerance=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {"outer": "trpo"},
        {"outer": "pg"},
        {"outer": "reptile"},
        {"adapted": "head"},
        {"rates": "learned"},
        {"score": "every"},
        {"estimator": "dice"},
        {"estimator": "maml"},
        {"estimator": "fomaml"},
        {"inner_steps": 0},
    ],
)
def test_every_variant_trains_and_restores_bit_for_bit(settings):
    one, two = learner("gridnavi", **settings), learner("gridnavi", **settings)
    lines = [one.update() for _ in range(3)]
    assert [two.update()] == lines[:1]
    three = learner("gridnavi", **settings)
    three.load_state_dict(two.state_dict())
    assert [three.update() for _ in range(2)] == lines[1:]
    assert torch.equal(weights(one), weights(three))
    assert not torch.equal(weights(one), weights(learner("gridnavi", **settings)))
    assert learner("gridnavi", seed=1, **settings).update() != lines[0]


@pytest.mark.parametrize(
    ("inner_steps", "outer", "stages"), [(2, "ppo", 3), (0, "ppo", 1), (2, "reptile", 2)]
)
def test_every_step_is_counted_inner_loops_included(inner_steps, outer, stages):
    made = learner("gridnavi", inner_steps=inner_steps, outer=outer, epochs=2)
    made.update()
    assert made.env_steps == stages * 4 * 3 * 15  # tasks, episodes, steps
    assert made.grad_steps == (2 if outer == "ppo" else 1)


def test_steps_after_the_end_of_an_episode_are_not_counted():
    made = learner(Corridor())
    stages, _ = made._play()
    assert made.env_steps == sum(int(stage.live.sum()) for stage in stages) < 3 * 4 * 3 * 6


def test_steps_of_all_processes_are_counted_though_their_episodes_differ_in_length():
    """So that all processes end after the same update. Here another one has played ten steps more."""
    made = learner(Corridor())
    made.workers.count = 2
    made.workers.mean = lambda value: value + 5
    stages, _ = made._play()
    assert made.env_steps == 2 * sum(int(stage.live.sum()) for stage in stages) + 10


def test_no_global_generator_moves():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    learner().update()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_without_inner_steps_it_is_multi_task_ppo():
    """One update against PPO written out: one policy, all tasks' steps in one batch."""
    made, twin = (
        learner("gridnavi", inner_steps=0, epochs=2, entropy=0.0),
        learner("gridnavi", inner_steps=0, epochs=2, entropy=0.0),
    )
    (played,), _ = twin._play()
    policy = twin.inner.policy
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3, eps=1e-5)
    advantage = standardised(played.advantage, played.live, (0, 1, 2))
    for _ in range(2):
        log_prob, _ = policy.actions.log_prob_and_entropy(policy(played.obs), played.action)
        ratio = (log_prob - played.behaviour).exp()
        loss = -torch.minimum(ratio * advantage, ratio.clamp(0.7, 1.3) * advantage).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    made.update()
    torch.testing.assert_close(weights(made), weights(twin), atol=1e-5, rtol=0)


def test_the_agent_plays_what_training_plays():
    """The first ratio of every update is 1, at every stage: inner steps are recomputed from the same episodes."""
    made = learner("gridnavi", score="every")
    stages, _ = made._play()
    gain, divergence = made._after_adapting(stages, 0.0)
    assert abs(float(divergence.detach())) < 1e-8
    means = [standardised(s.advantage, s.live, (0, 1, 2)).mean() for s in stages]
    torch.testing.assert_close(gain.detach(), torch.stack(means).mean(), atol=1e-5, rtol=0)


def test_first_and_second_order_adapt_alike_and_differ_in_the_meta_gradient():
    grads = {}
    for estimator in ("lvc", "dice", "maml", "fomaml"):
        made = learner("gridnavi", estimator=estimator, inner_lr=2.0)
        stages, _ = made._play()
        gain, _ = made._after_adapting(stages, 0.0)
        grads[estimator] = (
            gain.detach(),
            torch.cat([g.flatten() for g in torch.autograd.grad(gain, made.learned)]),
        )
    values, slopes = zip(*grads.values(), strict=True)
    for value in values[1:]:
        torch.testing.assert_close(value, values[0], atol=1e-5, rtol=0)
    for one, other in ((0, 1), (0, 2), (0, 3), (2, 3)):
        assert (slopes[one] - slopes[other]).norm() > 1e-3 * slopes[one].norm()


def test_learned_step_sizes_move_and_fixed_ones_do_not():
    for rates, moved in (("learned", True), ("fixed", False)):
        made = learner("gridnavi", rates=rates)
        made.update()
        assert any(bool((rate != 0.1).any()) for rate in made.inner.rates) == moved


def test_reptile_moves_towards_the_adapted_parameters():
    made = learner("gridnavi", outer="reptile", inner_lr=1.0)
    stages, _ = made._play()
    loss = made._distance(stages)
    slopes = torch.autograd.grad(loss, list(made.inner.policy.parameters()))
    params = made.inner.start(4)
    with torch.no_grad():
        for stage in stages:
            params, _ = made.inner.step(params, stage, "fomaml")
    for (name, p), slope in zip(made.inner.policy.named_parameters(), slopes, strict=True):
        torch.testing.assert_close(slope, (p - params[name]).mean(0).detach(), atol=1e-6, rtol=0)


def test_refused_tasks_are_left_out_and_counted():
    made = learner("gridnavi", max_step=1.0, inner_lr=3.0, seed=3)
    stages, metrics = made._play()
    assert 0 < metrics["refused"] < 1
    assert len(stages[0].reward) == round(4 * (1 - metrics["refused"]))
    assert np.isfinite(made.update()["refused"])
    assert torch.isfinite(weights(made)).all()


def test_training_stops_with_a_message_where_every_step_is_refused():
    with pytest.raises(DivergenceError, match="inner_lr"):
        learner("gridnavi", inner_lr=1e6).update()


def test_an_outer_gradient_that_is_not_a_number_is_skipped_and_counted():
    made = learner("gridnavi")
    before = weights(made)
    assert made._descend(made.learned[0].sum() * torch.nan)
    assert torch.equal(before, weights(made))
    assert made.grad_steps == 0


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"inner_steps": -1}, "inner_steps"),
        ({"tasks_per_update": -1}, "tasks_per_update"),
        ({"clip": 0.0}, "clip"),
        ({"outer": "reptile", "rates": "learned"}, "Reptile"),
        ({"outer": "reptile", "inner_steps": 0}, "Reptile"),
    ],
)
def test_impossible_settings_are_refused(settings, what):
    with pytest.raises(UserError, match=what):
        Config(**settings)


@pytest.mark.slow
def test_learns_to_adapt_to_a_bandit():
    """After training, pulls past the last inner step earn more than the first ones by 5 standard errors."""
    made = learner(
        "bandit:k=3,n=12",
        inner_lr=3.0,
        tasks_per_update=100,
        rates="learned",
        score="every",
        lr=1e-2,
    )
    for i in range(40):
        made.update(i / 40)
    played = evaluate(made.agent(), made.family, Plan(trials=10_000))
    first, last = played.mean("episode_return", 0), played.mean("episode_return")
    assert last - first > 5 * (2 * 0.25 / 10_000) ** 0.5


# --- one update, written out ------------------------------------------------------------------------------------------

ONE = {"inner_lr": 1.0, "inner_decay": 0.5, "lr": 0.01, "max_grad_norm": 0.02}


def moved(made: MamlLearner, size: float = 0.05) -> None:
    """Elsewhere than where it has played, by the same amounts each time."""
    with torch.no_grad():
        for p in made.inner.policy.parameters():
            p += size * torch.linspace(-1, 1, p.numel()).cos().view_as(p)


@pytest.mark.parametrize("outer", ["ppo", "pg"])
@pytest.mark.parametrize("score", ["last", "every"])
def test_what_is_maximised_is_the_clipped_gain_and_entropy_after_each_tasks_own_steps(score, outer):
    """Task by task, on episodes that end early, with weights that have moved since they were played."""
    made = learner(Corridor(), score=score, outer=outer, clip=0.05, **ONE)
    stages, _ = made._play()
    assert not stages[0].live.all()
    moved(made)
    gain, divergence = made._after_adapting(stages, 0.7)
    policy, scored = made.inner.policy, (0, 1, 2) if score == "every" else (2,)
    gains, divergences = [], []
    for k in scored:
        advantage, total, apart = (
            standardised(stages[k].advantage, stages[k].live, (0, 1, 2)),
            0.0,
            0.0,
        )
        for n in range(4):
            params = made.inner.start(1)
            for earlier in range(k):
                alone = Episodes(*(part[n : n + 1] for part in stages[earlier]))
                params, _ = made.inner.step(params, alone, "lvc", earlier)
            out = functional_call(
                policy, {name: p[0] for name, p in params.items()}, (stages[k].obs[n],)
            )
            log_prob, entropy = policy.actions.log_prob_and_entropy(out, stages[k].action[n])
            ratio = (log_prob - stages[k].behaviour[n]).exp()
            clipped = ratio.clamp(0.95, 1.05) if outer == "ppo" else ratio
            each = torch.minimum(ratio * advantage[n], clipped * advantage[n]) + 0.7 * entropy
            total += each[stages[k].live[n]].sum()
            apart += (ratio - 1 - ratio.log())[stages[k].live[n]].sum()
        gains.append(total / stages[k].live.sum())
        divergences.append(apart / stages[k].live.sum())
    torch.testing.assert_close(gain, sum(gains) / len(scored), atol=1e-5, rtol=0)
    torch.testing.assert_close(divergence, sum(divergences) / len(scored), atol=1e-6, rtol=0)
    assert divergence > 1e-4


@pytest.mark.parametrize("spent", [0.0, 0.25, 1.5])
@pytest.mark.parametrize(("outer", "epochs"), [("ppo", 3), ("pg", 1)])
def test_an_update_is_so_many_steps_of_adam_with_what_is_left_of_rate_and_bonus(
    outer, epochs, spent
):
    made, twin = (learner("gridnavi", outer=outer, epochs=3, entropy=0.5, **ONE) for _ in range(2))
    stages, _ = twin._play()
    left, parameters = max(0.0, 1 - spent), list(twin.inner.policy.parameters())
    optimizer = torch.optim.Adam(parameters, lr=0.01 * left, eps=1e-5)
    for _ in range(epochs):
        optimizer.zero_grad()
        (-twin._after_adapting(stages, 0.5 * left)[0]).backward()
        assert torch.nn.utils.clip_grad_norm_(parameters, 0.02) > 0.02
        optimizer.step()
    made.update(spent)
    torch.testing.assert_close(weights(made), weights(twin), atol=1e-6, rtol=0)
    assert torch.equal(weights(made), weights(learner("gridnavi", **ONE))) == (left == 0)
    assert (made.grad_steps, made.updates) == (epochs, 1)


def test_a_trust_region_update_goes_as_far_as_it_may():
    made, twin = (learner("gridnavi", outer="trpo", max_kl=1e-3, clip=0.3) for _ in range(2))
    stages, _ = twin._play()
    before = twin._after_adapting(stages, made.config.entropy)[0]
    metrics = made.update()
    after, divergence = made._after_adapting(stages, made.config.entropy)
    assert metrics["step_share"] > 0
    assert after > before
    assert 1e-4 < divergence <= 1e-3
    assert (made.grad_steps, made.updates) == (1, 1)


@pytest.mark.parametrize("outer", ["ppo", "reptile"])
def test_shortened_steps_are_the_ones_that_were_played(outer):
    made = learner("gridnavi", outer=outer, score="every", **ONE)
    stages, _ = made._play()
    if outer == "ppo":
        assert abs(float(made._after_adapting(stages, 0.0)[1].detach())) < 1e-8
        return
    params = made.inner.start(4)
    for k, stage in enumerate(stages):
        params, _ = made.inner.step(params, stage, "fomaml", k)
    far = torch.stack(
        [(p.detach() - made.inner.start(4)[n].detach()).square().sum() for n, p in params.items()]
    )
    torch.testing.assert_close(
        made._distance(stages).detach(), far.sum() / 4 / 2, atol=1e-6, rtol=0
    )


# --- what is played ---------------------------------------------------------------------------------------------------


def same(one: Episodes, other: Episodes) -> bool:
    return torch.equal(one.action, other.action) and torch.allclose(
        one.behaviour, other.behaviour, atol=1e-5
    )


def test_two_workers_play_what_one_plays_and_count_for_both():
    """The second update of two workers of four tasks each: the second one of a single worker of eight."""
    whole, *halves = (learner("gridnavi", tasks_per_update=n) for n in (8, 4, 4))
    for index, half in enumerate(halves):
        half.workers.count, half.workers.index = 2, index
    for made in (whole, *halves):
        made.updates = 1
    stages, *parts = (made._play()[0] for made in (whole, *halves))
    for k, stage in enumerate(stages):
        for half, rows in enumerate((slice(4), slice(4, 8))):
            assert same(parts[half][k], Episodes(*(part[rows] for part in stage)))
    assert not same(parts[0][0], parts[1][0])
    assert whole.env_steps == halves[0].env_steps == halves[1].env_steps


def test_each_update_and_each_stage_is_played_with_noise_of_its_own():
    made = learner("gridnavi", inner_lr=0.0)
    stages, _ = made._play()
    made.updates += 1
    again, _ = made._play()
    for one, other in ((stages[0], stages[1]), (stages[1], stages[2]), (stages[0], again[0])):
        assert not torch.equal(one.action, other.action)


def test_a_task_is_left_out_where_any_of_its_steps_was_refused(monkeypatch):
    """The first task's first step, the second one of the last two."""
    made = learner("gridnavi")
    whole, _ = made._play()
    verdicts = [torch.tensor([False, True, True, True]), torch.tensor([True, True, False, False])]
    step = made.inner.step
    monkeypatch.setattr(made.inner, "step", lambda *args: (step(*args)[0], verdicts[args[3]]))
    stages, metrics = made._play()
    assert metrics["refused"] == 0.75
    for stage, all_tasks in zip(stages, whole, strict=True):
        assert same(stage, Episodes(*(part[[1]] for part in all_tasks)))


def test_gradients_are_averaged_over_workers_before_the_step(monkeypatch):
    made = learner("gridnavi")
    before = weights(made)
    monkeypatch.setattr(
        made.workers, "average_gradients", lambda learned: [p.grad.zero_() for p in learned]
    )
    made.update()
    assert torch.equal(weights(made), before)


def test_skipped_steps_are_a_share_of_the_update(monkeypatch):
    made, verdicts = learner("gridnavi", epochs=4), iter([True, False, False, False])
    monkeypatch.setattr(made, "_descend", lambda _loss: next(verdicts))
    assert made.update()["skipped"] == 0.25


@pytest.mark.parametrize("rates", ["fixed", "learned"])
def test_the_card_counts_what_is_trained(rates):
    made = learner("gridnavi", rates=rates)
    count = weights(made).numel() * (2 if rates == "learned" else 1)
    assert (made.agent().card.params_total, made.agent().card.params_trained) == (count, count)


def test_a_restored_learner_has_its_step_sizes_and_its_optimiser():
    one, two = (learner("gridnavi", rates="learned") for _ in range(2))
    one.update()
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for mine, theirs in zip(one.inner.rates, two.inner.rates, strict=True):
        assert torch.equal(mine, theirs)
    one.update()
    two.update()
    assert torch.equal(weights(one), weights(two))
