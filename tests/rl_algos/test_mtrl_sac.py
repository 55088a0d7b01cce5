"""Multi-task soft actor-critic: losses task by task, who is told what, what is counted, and that it learns."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.func import functional_call, vmap

from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.training.workers import Workers
from rl_algos.concerns import combiners
from rl_algos.concerns.combining import Equal
from rl_algos.concerns.return_weights import ReturnScaled
from rl_algos.mtrl_sac import Config, MtrlSacLearner
from rl_algos.transitions import Transitions
from tests.bridge.toys import Corridor, Reach

SMALL = {
    "hidden": 8,
    "tasks_per_update": 2,
    "episodes_per_task": 2,
    "meta_batch": 3,
    "batch": 4,
    "capacity": 60,
    "train_tasks": 4,
    "steps_per_grad": 20.0,
}


def learner(family="gridnavi:tasks=3", *, seed: int = 0, **settings) -> MtrlSacLearner:
    made = make_family(family) if isinstance(family, str) else family
    return MtrlSacLearner(made, Config(**(SMALL | settings)), seed=seed)


def weights(made: MtrlSacLearner) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in made.table.parameters()])


@pytest.mark.parametrize("split", ["train", "id"])
@pytest.mark.parametrize(
    "family",
    [
        "bandit:k=3,n=6,tasks=4",
        Corridor(tasks=3),
        Reach(tasks=3),
        Reach(),
        pytest.param("gridnavi", marks=pytest.mark.slow),
    ],
)
def test_keeps_the_contract(family, split):
    made = learner(family)
    made.update()
    for check in AGENT_CHECKS.values():
        check(made.agent(), made.family, split)


@pytest.mark.parametrize("shared", ["all", "trunk", "nothing"])
@pytest.mark.parametrize("family", ["gridnavi:tasks=3", Reach(tasks=3)])
def test_equal_seeds_train_equally_and_a_restored_learner_goes_on_bit_for_bit(family, shared):
    one, two = learner(family, shared=shared), learner(family, shared=shared)
    lines = [one.update() for _ in range(3)]
    assert [two.update()] == lines[:1]
    three = learner(family, shared=shared)
    three.load_state_dict(two.state_dict())
    assert [three.update() for _ in range(2)] == lines[1:]
    assert torch.equal(weights(one), weights(three))
    assert learner(family, shared=shared, seed=1).update() != lines[0]


def test_every_step_is_counted_and_learned_from_as_often_as_asked():
    made = learner()
    for _ in range(4):
        made.update()
    assert made.env_steps == 4 * 2 * 2 * 15
    assert made.grad_steps == made.env_steps // 20
    early = learner(Corridor(tasks=3))
    early.update()
    assert early.env_steps == early.replay.written.sum() < 2 * 2 * 6


def test_no_global_generator_moves():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    learner().update()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_all_tasks_are_played_in_turn_and_stored_apart():
    made = learner("gridnavi:tasks=3")
    for expected in ([30, 30, 0], [60, 30, 30], [60, 60, 60]):
        made._play()
        made.updates += 1
        assert made.replay.written.tolist() == expected


def test_stored_episodes_follow_one_another():
    """Within an episode each transition starts where the one before ended."""
    made = learner()
    made._play()
    rows = made.replay.first(torch.tensor([1]))
    obs, after = rows.obs[0].view(2, 15, 2), rows.next_obs[0].view(2, 15, 2)
    assert torch.equal(obs[:, 1:], after[:, :-1])
    assert torch.equal(obs[0, 0], obs[1, 0])


# --- losses -----------------------------------------------------------------------------------------------------------


def _random_batch(made: MtrlSacLearner, tasks: int, rows: int) -> tuple[Transitions, torch.Tensor]:
    noise = Rows.of("batch", torch.arange(tasks))
    reward = noise.at("reward").normal(rows)
    batch = Transitions(
        obs=noise.at("obs").normal(rows, 2),
        action=noise.at("action").uniform(rows, 2) * 2 - 1,
        reward=reward,
        next_obs=noise.at("next").normal(rows, 2),
        terminated=(noise.at("end").uniform(rows) < 0.3).float(),
        critic_reward=reward,
    )
    return batch, noise.at("draws").normal(rows, 2)


@pytest.mark.parametrize("shared", ["all", "trunk", "nothing"])
def test_losses_are_those_of_each_task_alone(shared):
    """A loop over tasks, each with a network that holds its rows, gives the same losses and gradients."""
    made = learner(Reach(tasks=3), shared=shared)
    task = torch.tensor([2, 0, 3])
    batch, noise = _random_batch(made, 3, 5)
    targets = made._targets_of(task, batch, noise)
    together = made._losses_of(made.table.rows(task), batch, targets, noise.flip(0))
    for row, number in enumerate(task.tolist()):
        alone = learner(Reach(tasks=3), shared=shared)
        for name, parameter in alone.table.net.named_parameters():
            source = made.table.parameter(name)
            parameter.data = (
                (source[number] if name in made.table.names else source).detach().clone()
            )
        of_task = Transitions(*(part[row] for part in batch))
        target = alone.targets(of_task, noise[row], torch.tensor(0.0), torch.tensor(1.0))
        torch.testing.assert_close(targets[row], target)
        one = alone.losses(of_task, target, noise.flip(0)[row])
        for mine, theirs in zip(together, one, strict=True):
            torch.testing.assert_close(mine[row], theirs)


def test_critics_actors_and_temperatures_learn_from_their_own_loss_alone():
    made = learner(Reach(tasks=3))
    made._play()
    made.updates += 1
    made._learn()
    batch, noise = _random_batch(made, 3, 5)
    critic, actor, temperature, _ = made._losses_of(
        made.table.rows(torch.arange(3)), batch, batch.reward, noise
    )
    for name, loss in (("critic.", critic), ("actor.", actor), ("log_temperature", temperature)):
        found = torch.autograd.grad(loss.sum(), made.table.named(name), retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in found)
    for name, loss in (("actor.", critic), ("target.", critic), ("log_temperature", actor)):
        learned = [p for p in made.table.named(name) if p.requires_grad]
        for gradient in (
            torch.autograd.grad(loss.sum(), learned, retain_graph=True, allow_unused=True)
            if learned
            else ()
        ):
            assert gradient is None or not gradient.any()


def test_targets_start_as_the_critics_and_follow_them():
    made = learner(Reach(tasks=3), target_share=0.25)
    pairs = list(zip(made.table.named("target."), made.table.named("critic."), strict=True))
    assert all(torch.equal(slow, fast) for slow, fast in pairs)
    assert not any(slow.requires_grad for slow, _ in pairs)
    before = [slow.clone() for slow, _ in pairs]
    made.update()
    for (slow, fast), old in zip(pairs, before, strict=True):
        assert not torch.equal(slow, fast)
        if made.grad_steps == 1:
            torch.testing.assert_close(slow, old + 0.25 * (fast - old))


def test_rewards_are_in_units_of_the_largest_of_their_task():
    made = learner()
    made._play()
    made.largest[:2] = torch.tensor([4.0, 0.0])
    noise = Rows.of("x", torch.arange(2))
    found = made._transitions(torch.tensor([0, 1]), noise)
    raw = made.replay.draw(torch.tensor([0, 1]), 4, noise)
    torch.testing.assert_close(found.critic_reward, raw.reward / torch.tensor([[4.0], [1.0]]))


def test_the_largest_size_of_a_reward_is_remembered_for_each_task():
    made = learner("bandit:k=2,n=8,tasks=3,arms=gaussian")
    for _ in range(3):
        made._play()
        made.updates += 1
    for task in range(3):
        rows, size = made.replay.first(torch.tensor([task])), made.replay.size[torch.tensor([task])]
        torch.testing.assert_close(made.largest[task], rows.reward[0, : int(size)].abs().max())


def test_a_time_out_is_no_end():
    made = learner()
    made._play()
    rows, size = made.replay.first(torch.arange(2)), made.replay.size[torch.arange(2)]
    assert size.tolist() == [30, 30]
    assert not rows.terminated.any()


# --- ids --------------------------------------------------------------------------------------------------------------


def test_without_known_tasks_all_are_unknown_and_new_ones_are_played():
    made = learner("gridnavi")
    assert made.table.known == 0
    for _ in range(2):
        made._play()
        made.updates += 1
    assert made.replay.written.tolist() == [30, 30, 30, 30]


@pytest.mark.parametrize(
    ("settings", "what"),
    [({"batch": 0}, "batch"), ({"hidden_ids": 1.5}, "hidden_ids"), ({"lr": 0.0}, "lr")],
)
def test_impossible_settings_are_refused(settings, what):
    with pytest.raises(UserError, match=what):
        Config(**settings)


def test_it_trains_in_one_process():
    two = Workers()
    two.count = 2
    with pytest.raises(UserError, match="--processes 1"):
        MtrlSacLearner(make_family("gridnavi:tasks=3"), Config(), seed=0, workers=two)


@pytest.mark.slow
def test_one_policy_learns_tasks_that_contradict_each_other_if_told_which():
    """Told which bandit it plays, it pulls the best arm; untold, it earns what chance does (5 of 10 pulls)."""
    family = make_family("bandit:k=4,n=10,tasks=6")
    made = learner(
        family,
        hidden=32,
        meta_batch=6,
        batch=64,
        capacity=2_000,
        tasks_per_update=6,
        episodes_per_task=20,
        steps_per_grad=10.0,
        lr=3e-3,
        gamma=0.0,
        entropy_share=0.05,
    )
    while made.env_steps < 4_000:
        made.update(made.env_steps / 4_000)
    told, untold = (
        evaluate(made.agent(), make_family(spec), Plan(split="train", trials=600)).mean(
            "trial_return"
        )
        for spec in ("bandit:k=4,n=10,tasks=6", "bandit:k=4,n=10")
    )
    best = (
        10
        * family.optimal_return(
            family.sample("train", torch.arange(6)), family.trial("train")
        ).mean()
    )
    assert told > 0.95 * best
    assert untold < 0.7 * best


# --- the unit of values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rewards", ["raw", "popart"])
@pytest.mark.parametrize(
    ("family", "shared"),
    [
        ("gridnavi:tasks=3", "all"),
        (Reach(tasks=3), "trunk"),
        (Reach(tasks=3), "nothing"),
        (Reach(), "all"),
    ],
)
def test_every_unit_trains_and_goes_on_bit_for_bit(family, rewards, shared):
    one, two = (learner(family, rewards=rewards, shared=shared) for _ in range(2))
    lines = [one.update() for _ in range(3)]
    assert all(np.isfinite(list(lines[-1].values())))
    assert two.update() == lines[0]
    three = learner(family, rewards=rewards, shared=shared)
    three.load_state_dict(two.state_dict())
    assert [three.update() for _ in range(2)] == lines[1:]
    assert torch.equal(weights(one), weights(three))


def test_raw_rewards_are_as_they_are():
    made = learner(rewards="raw")
    made._play()
    noise = Rows.of("x", torch.arange(2))
    found = made._transitions(torch.tensor([0, 1]), noise)
    assert torch.equal(found.critic_reward, made.replay.draw(torch.tensor([0, 1]), 4, noise).reward)


def _trained_on(factor: float, rewards: str) -> MtrlSacLearner:
    """A learner whose critics are given rewards that are ``factor`` times as large."""
    made = learner(Reach(tasks=3), rewards=rewards)
    usual = made._transitions

    def multiplied(ring, noise):
        batch = usual(ring, noise)
        return batch._replace(critic_reward=factor * batch.critic_reward)

    made._transitions = multiplied
    for _ in range(3):
        made.update()
    return made


@pytest.mark.parametrize("factor", [2.0**-20, 2.0**20])
def test_popart_learns_the_same_whatever_the_unit_of_rewards(factor):
    """Bit for bit, since the factor is a power of two."""
    assert torch.equal(weights(_trained_on(1.0, "popart")), weights(_trained_on(factor, "popart")))
    assert not torch.equal(weights(_trained_on(1.0, "raw")), weights(_trained_on(factor, "raw")))


def _values(made: MtrlSacLearner, net: str, task: torch.Tensor, batch: Transitions) -> torch.Tensor:
    """The values ``[n, 2, b]`` of some tasks' critics or their targets, in units of reward."""
    own = {
        name.removeprefix(f"{net}."): rows
        for name, rows in made.table.rows(task).items()
        if name.startswith(f"{net}.")
    }
    call = vmap(partial(functional_call, made.table.net.get_submodule(net)))
    outputs = call(own, (torch.cat([batch.obs, batch.action], -1),)).squeeze(-1)
    mean, scale = (part[:, None, None] for part in made.unit.statistics(task))
    return mean + scale * outputs.double()


@pytest.mark.parametrize("net", ["critic", "target"])
def test_a_step_of_popart_moves_statistics_and_no_value(net):
    made, task = learner(Reach(tasks=3), rewards="popart"), torch.tensor([0, 1, 3])
    batch, noise = _random_batch(made, 3, 5)
    made._targets_of(task, batch, noise)
    before, statistics = _values(made, net, task, batch), made.unit.statistics(task)
    larger = batch._replace(critic_reward=100 * batch.critic_reward + 3)
    targets = made._targets_of(task, larger, noise)
    assert targets.abs().max() < 10
    assert (made.unit.statistics(task)[1] > 2 * statistics[1]).all()
    torch.testing.assert_close(_values(made, net, task, batch), before, rtol=1e-4, atol=1e-3)


def test_critics_of_popart_have_output_layers_of_each_tasks_own():
    assert "critic.weights.2" in learner(rewards="popart").table.names
    assert "actor.weights.2" not in learner(rewards="popart").table.names
    assert "critic.weights.2" not in learner().table.names


# --- how tasks' gradients become one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "combine", ["equal", "grad_norm", "uncertainty", "dwa", "pcgrad", "upgrad"]
)
def test_every_kind_of_combiner_trains_and_goes_on_bit_for_bit(combine):
    one, two = learner(combine=combine), learner(combine=combine)
    lines = [one.update() for _ in range(3)]
    assert 0 <= lines[-1]["critic_conflicts"] <= 1
    assert -1 <= lines[-1]["actor_cosine"] <= 1
    assert two.update() == lines[0]
    three = learner(combine=combine)
    three.load_state_dict(two.state_dict())
    assert [three.update() for _ in range(2)] == lines[1:]
    assert torch.equal(weights(one), weights(three))


@pytest.mark.parametrize("shared", ["all", "trunk"])
def test_equal_weights_learn_as_the_mean_does(shared):
    one, two = learner(shared=shared), learner(shared=shared, combine="equal")
    for _ in range(3):
        one.update(), two.update()
    assert torch.allclose(weights(one), weights(two), atol=1e-4)


def test_actor_and_critics_have_weights_of_their_own():
    made = learner(combine="grad_norm")
    for _ in range(3):
        made.update()
    assert not torch.equal(made.combiners["actor"].weights, made.combiners["critic"].weights)


@pytest.mark.parametrize("combine", ["uncertainty", "dwa"])
def test_weights_from_errors_are_the_critics_alone(combine):
    made = learner(combine=combine)
    assert isinstance(made.combiners["critic"], combiners.OF_ERRORS[combine])
    assert isinstance(made.combiners["actor"], Equal)
    made.update()
    state = made.combiners["critic"].state_dict()
    assert any(part.any() for part in state.values())


def test_return_scaled_weighs_actor_and_critics_by_the_returns_of_known_tasks():
    one, two = (learner(combine="return_scaled", rewards="raw") for _ in range(2))
    lines = [one.update() for _ in range(2)]
    actor, critic = one.combiners["actor"], one.combiners["critic"]
    assert isinstance(actor, ReturnScaled)
    assert isinstance(critic, ReturnScaled)
    assert (actor.power, critic.power) == (1, 2)
    assert actor.count.tolist() == [2, 1, 1, 0]
    assert torch.equal(actor.moments, critic.moments)
    two.update()
    three = learner(combine="return_scaled", rewards="raw")
    three.load_state_dict(two.state_dict())
    assert three.update() == lines[1]


@pytest.mark.parametrize("rewards", ["scaled", "popart"])
def test_return_scaled_needs_raw_rewards(rewards):
    with pytest.raises(UserError, match="Add rewards=raw"):
        learner(combine="return_scaled", rewards=rewards)


@pytest.mark.parametrize(("hidden_ids", "clue"), [(0.1, "id"), (1.0, "nothing")])
def test_ids_that_are_always_hidden_are_neither_played_with_nor_given_at_test(hidden_ids, clue):
    """Rows of known tasks are then the same for every one: play does not depend on them."""
    one, two = (
        learner("contextual_bandit:tasks=3", shared="trunk", hidden_ids=hidden_ids)
        for _ in range(2)
    )
    assert one.agent().card.clue == clue
    with torch.no_grad():
        for name in two.table.names:
            owned = two.table.parameter(name)[:-1]
            owned += 5 * torch.linspace(-1, 1, owned.numel()).view_as(owned)
    found = [made._play()["episode_return"] for made in (one, two)]
    assert (found[0] == found[1]) == (clue == "nothing")
