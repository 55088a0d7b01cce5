"""MAML: the contract, the counters, what every variant does, and that it learns to adapt."""

import numpy as np
import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.errors import DivergenceError, UserError
from bridge.evaluate import Plan, evaluate
from bridge.maths.baselines import standardised
from bridge.tasks import family as make_family
from rl_algos.maml import Config, MamlLearner
from tests.bridge.toys import Corridor, Reach

SMALL = {"hidden": 8, "tasks_per_update": 4, "episodes_per_step": 3, "inner_steps": 2}


def learner(family="bandit:k=3,n=12", *, seed: int = 0, **settings) -> MamlLearner:
    made = make_family(family) if isinstance(family, str) else family
    return MamlLearner(made, Config(**(SMALL | settings)), seed=seed)


def weights(made: MamlLearner) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in made.inner.policy.parameters()])


@pytest.mark.parametrize("family", ["bandit:k=3,n=12", "gridnavi", "tabular_mdp:n=4", Corridor(), Reach()])
def test_keeps_the_contract(family):
    made = learner(family)
    made.update()
    made.inner.double()
    for check in AGENT_CHECKS.values():
        check(made.agent(), made.family, tolerance=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {"outer": "trpo"}, {"outer": "pg"}, {"outer": "reptile"}, {"adapted": "head"}, {"rates": "learned"},
        {"score": "every"}, {"estimator": "dice"}, {"estimator": "maml"}, {"estimator": "fomaml"}, {"inner_steps": 0},
    ],
)  # fmt: skip
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


@pytest.mark.parametrize(("inner_steps", "outer", "stages"), [(2, "ppo", 3), (0, "ppo", 1), (2, "reptile", 2)])
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
        grads[estimator] = (gain.detach(), torch.cat([g.flatten() for g in torch.autograd.grad(gain, made.learned)]))
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
    made = learner("gridnavi", max_step=1.0, inner_lr=3.0)
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
        ({"inner_steps": -1}, "inner_steps"), ({"tasks_per_update": -1}, "tasks_per_update"), ({"clip": 0.0}, "clip"),
        ({"outer": "reptile", "rates": "learned"}, "Reptile"), ({"outer": "reptile", "inner_steps": 0}, "Reptile"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(settings, what):
    with pytest.raises(UserError, match=what):
        Config(**settings)


def test_learns_to_adapt_to_a_bandit():
    """After training, pulls past the last inner step earn more than the first ones by 5 standard errors."""
    made = learner("bandit:k=3,n=12", inner_lr=3.0, tasks_per_update=100, rates="learned", score="every", lr=1e-2)
    for i in range(40):
        made.update(i / 40)
    played = evaluate(made.agent(), made.family, Plan(trials=10_000))
    first, last = played.mean("episode_return", 0), played.mean("episode_return")
    assert last - first > 5 * (2 * 0.25 / 10_000) ** 0.5
