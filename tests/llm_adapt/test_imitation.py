"""Pretraining on histories: which windows are read, what is imitated, what is counted, and that it learns."""

import numpy as np
import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.rng import Rows
from bridge.tasks import family as make_family
from llm_adapt import data, icl_ad, icl_dpt
from llm_adapt.icl_ad import IclAdLearner
from llm_adapt.icl_dpt import IclDptLearner
from llm_adapt.imitation import ImitationLearner

SMALL = {
    "hidden": 16,
    "layers": 1,
    "heads": 2,
    "window": 8,
    "steps_per_update": 240,
    "batch": 64,
    "passes": 1.0,
}


def learner(spec="gridnavi", *, kind=IclDptLearner, seed=0, **settings) -> ImitationLearner:
    config = {IclDptLearner: icl_dpt.Config, IclAdLearner: icl_ad.Config}[kind]
    return kind(make_family(spec), config(**(SMALL | settings)), seed=seed)


def weights(made: ImitationLearner) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in made.policy.parameters()])


@pytest.mark.parametrize("kind", [IclDptLearner, IclAdLearner])
@pytest.mark.parametrize("spec", ["bandit:k=3,n=6", "tabular_mdp:n=2", "sparse_point"])
def test_trains_and_keeps_the_contract(spec, kind):
    made = learner(spec, kind=kind, episodes=2)
    made.update()
    for name, check in AGENT_CHECKS.items():
        if spec == "bandit:k=3,n=6" or "frozen" in name:
            check(made.agent(), made.family)
    assert (
        made.agent().card.supervision
        == {IclDptLearner: "optimal_actions", IclAdLearner: "histories"}[kind]
    )


@pytest.mark.parametrize("spec", ["gridnavi", "sparse_point"])
def test_equal_seeds_train_equally_and_a_restored_learner_goes_on_bit_for_bit(spec):
    one, two = learner(spec, episodes=2), learner(spec, episodes=2)
    lines = [one.update(0.1 * i) for i in range(3)]
    assert [two.update(0.0)] == lines[:1]
    three = learner(spec, episodes=2)
    three.load_state_dict(two.state_dict())
    assert [three.update(0.1 * i) for i in (1, 2)] == lines[1:]
    assert torch.equal(weights(one), weights(three))
    assert learner(spec, episodes=2, seed=1).update() != lines[0]


def test_no_global_generator_moves():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    learner().update()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_every_step_is_paid_for_once_and_read_as_often_as_asked():
    made = learner(steps_per_update=300, passes=2.0, batch=60, window=6)
    made.update()
    made.update()
    assert made.env_steps == 2 * 300  # five histories of sixty steps each time
    assert made.grad_steps == 2 * 2 * 300 // 60


@pytest.mark.parametrize("kind", [IclDptLearner, IclAdLearner])
def test_windows_are_pieces_of_a_history(kind):
    """Every window's tokens and labels stand in one history in that order; one at its beginning starts with nothing."""
    made = learner(kind=kind, window=8)
    pool = made.collection.shard(0)
    tokens, label, inside = made._windows(pool, Rows.of("w", torch.arange(200)))
    whole = data.read(pool, range(len(pool)))
    none = made.policy.layout.nothing_yet(Rows(torch.zeros(len(pool), dtype=torch.int64)))
    shown = whole.steps if kind is IclAdLearner else whole.steps._replace(obs=whole.asked)
    past = made.policy.layout.trial(whole.steps, none)[..., 2:]  # gridnavi observes two numbers
    rows = torch.cat([made.policy.layout.trial(shown, none)[..., :2], past], -1)
    labels = whole.best if kind is IclDptLearner else whole.steps.action
    assert (inside == 1).all()
    found = 0
    for piece, says in zip(tokens, label, strict=True):
        places = [
            (b, t)
            for b in range(len(rows))
            for t in range(rows.shape[1] - 7)
            if torch.equal(rows[b, t : t + 8], piece) and torch.equal(labels[b, t : t + 8], says)
        ]
        assert places
        found += all(t == 0 for _, t in places)
    assert 0 < found < 60


def test_what_is_beyond_the_end_of_a_history_is_not_imitated():
    made = learner(
        "point_nav", window=200, episodes=2, sources="random+psrl", steps_per_update=1_600
    )
    pool = made.collection.shard(0)
    tokens, label, inside = made._windows(pool, Rows.of("w", torch.arange(30)))
    lengths = set(pool["length"])
    assert set(inside.sum(1).int().tolist()) <= lengths
    assert min(lengths) < 200
    loss, _ = made._loss(tokens, label, inside)
    other, _ = made._loss(tokens, torch.where(inside[..., None] > 0, label, 0.09), inside)
    torch.testing.assert_close(loss, other)


def test_the_loss_is_the_mean_negative_log_likelihood():
    made = learner(window=5)
    tokens, label, inside = made._windows(made.collection.shard(0), Rows.of("w", torch.arange(3)))
    inside[1, 3:] = 0
    loss, hits = made._loss(tokens, label, inside)
    log_p = made.policy(tokens).out.log_softmax(-1)
    each = [
        (log_p[b, t, label[b, t]].item(), log_p[b, t].argmax() == label[b, t])
        for b in range(3)
        for t in range(5)
    ]
    kept = [pair for pair, inner in zip(each, inside.flatten().tolist(), strict=True) if inner]
    assert len(kept) == 13
    assert loss.item() == pytest.approx(-sum(p for p, _ in kept) / 13, abs=1e-5)
    assert hits.item() == pytest.approx(sum(float(same) for _, same in kept) / 13)


@pytest.mark.slow
def test_actions_that_fill_a_box_are_imitated_by_what_can_lie_at_its_bounds():
    """An oracle's steps are as long as they may be; what a policy says of them is a probability, not a density."""
    made = learner("point_nav:episodes=2", sources="psrl", window=40, passes=20.0)
    assert made.policy.config.distribution == "clipped_gaussian"
    label = made._windows(made.collection.shard(0), Rows.of("w", torch.arange(20))).label
    assert (label.abs() == 0.1).float().mean() > 0.1
    losses = [made.update(0.1)["loss"] for _ in range(5)]
    assert losses[-1] < losses[0] - 0.5


def test_sources_are_named_or_the_familys_own():
    assert learner().collection.definition.sources == ("skewed", "thompson")
    assert learner(kind=IclAdLearner).collection.definition.sources == ("thompson",)
    assert learner(sources="psrl+search").collection.definition.sources == ("psrl", "search")
    with pytest.raises(UserError, match="no policy can imitate"):
        learner(sources="oracle").update()


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"batch": 0}, "batch"),
        ({"passes": 0.0}, "passes"),
        ({"warm_up": 1.5}, "warm_up"),
        ({"data": "x", "sources": "psrl"}, "fixes sources"),
        ({"data": "x", "episodes": 2}, "fixes sources"),
    ],
)
def test_impossible_settings_are_refused(settings, what):
    with pytest.raises(UserError, match=what):
        icl_dpt.Config(**settings)


def test_it_learns_to_tell_arms_apart_from_what_they_paid():
    """After 8,000 pulls it earns more than chance (2.5 of 5) by 8 standard errors on new bandits; with its rewards
    hidden in training it could not."""
    made = learner(
        "bandit:k=2,n=5,arms=dependent_easy",
        hidden=32,
        batch=500,
        steps_per_update=1_000,
        passes=8.0,
        window=16,
        lr=3e-3,
    )
    while made.env_steps < 8_000:
        made.update(made.env_steps / 8_000)
    found = evaluate(made.agent(), made.family, Plan(trials=2_000))
    assert found.mean("trial_return") > 2.5 + 8 * (5 * 0.25 / 2_000) ** 0.5


def test_given_data_are_read_in_place_of_new_ones(tmp_path):
    """A learner that is given what it would have made learns the same, and is told early where that will not last."""
    own = learner(episodes=2)
    made = data.Collection(
        own.family, ("skewed", "thompson"), seed=0, episodes=2, rows=8, folder=tmp_path
    )
    for shard in range(2):
        made.shard(shard)
    given = learner(data=str(made.folder))
    assert [given.update(spent) for spent in (0.0, 0.5)] == [
        own.update(spent) for spent in (0.0, 0.5)
    ]
    assert given.env_steps == own.env_steps == 2 * 240
    for spent in (0.34, 0.49):  # a third shard would be needed, or a part of one
        short = learner(data=str(made.folder))
        short.update(0.0)
        with pytest.raises(UserError, match=rf"holds 480 steps.*about {240 / spent:.0f}"):
            short.update(spent)
    learner(data="nowhere").agent()  # who only plays needs no data
    with pytest.raises(UserError, match="holds no collection"):
        learner(data="nowhere").update()


def test_histories_of_shifted_tasks_are_not_learned_from(tmp_path):
    family = learner().family
    made = data.Collection(family, ("psrl",), split="shift/slip/1", rows=2, folder=tmp_path)
    made.shard(0)
    with pytest.raises(
        UserError, match=r"histories on shift/slip/1, and learners read those on train alone"
    ):
        learner(data=str(made.folder)).update()


@pytest.mark.parametrize(
    ("window", "episodes", "expected"), [(8, 0, 2), (30, 0, 4), (8, 3, 3), (200, 0, 4)]
)
def test_histories_are_no_longer_than_two_windows_unless_asked(window, episodes, expected):
    """Trials of gridnavi have four episodes of fifteen steps."""
    assert learner(window=window, episodes=episodes).collection.trial == (expected, 15)


@pytest.mark.parametrize(
    ("spent", "share"),
    [(0.0, 0.05), (0.01, 0.55), (0.019, 0.981), (0.3, 0.7), (0.99, 0.01), (1.2, 0.0)],
)
def test_the_learning_rate_rises_for_a_fiftieth_of_the_budget_and_falls_to_nothing(spent, share):
    made = learner(lr=2e-3)
    before = weights(made)
    made.update(spent)
    assert [group["lr"] for group in made.optimizer.param_groups] == [pytest.approx(2e-3 * share)]
    assert torch.equal(weights(made), before) == (share == 0)


def test_gradients_are_clipped_and_weights_decay():
    """Gradients of a norm far below Adam's epsilon move nothing; decay then shrinks every weight by 1 - lr * decay."""
    moved = {}
    for norm, decay in ((1.0, 0.0), (1e-14, 0.0), (1e-14, 50.0)):
        made = learner(
            lr=1e-3,
            max_grad_norm=norm,
            weight_decay=decay,
            warm_up=0.0,
            steps_per_update=60,
            batch=64,
        )
        before = made.policy.actor.weight.detach().clone()
        made.update(0.0)
        assert made.grad_steps == 1
        moved[norm, decay] = (made.policy.actor.weight.detach() - before, before)
    assert moved[1.0, 0.0][0].abs().max() > 5e-4
    assert moved[1e-14, 0.0][0].abs().max() < 1e-6
    change, before = moved[1e-14, 50.0]
    torch.testing.assert_close(change, -0.05 * before, atol=2e-6, rtol=1e-3)


def test_gradients_are_those_of_all_processes(monkeypatch):
    """What the processes agree on is what is stepped by: nothing moves where they agree on nothing."""
    made = learner(weight_decay=0.0)
    before = weights(made)
    monkeypatch.setattr(
        made.workers,
        "average_gradients",
        lambda learned: [p.grad.zero_() for p in learned if p.grad is not None],
    )
    made.update(0.1)
    assert torch.equal(weights(made), before)
