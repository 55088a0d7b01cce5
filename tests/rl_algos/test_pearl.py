"""PEARL: its memory, the contract, what each loss trains, and that it learns."""

import itertools
import math

import numpy as np
import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.errors import DivergenceError, UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import record_context
from bridge.protocol import Clues, Step, Trial
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.training.run_folder import refuse_nan
from bridge.training.workers import Workers
from rl_algos.pearl import Config, PearlLearner
from rl_algos.posterior import Sums
from tests.bridge.toys import Corridor, Reach

SMALL = {
    "hidden": 8,
    "encoder_hidden": 8,
    "latent": 3,
    "collect_tasks": 4,
    "episodes": 3,
    "meta_batch": 3,
    "batch": 5,
    "train_tasks": 6,
    "steps_per_grad": 10.0,
    "capacity": 100,
    "recent": 1,
    "scout_episodes": 0,
}


def learner(spec="bandit:k=3,n=6", *, seed: int = 0, **settings) -> PearlLearner:
    family = make_family(spec) if isinstance(spec, str) else spec
    return PearlLearner(family, Config(**(SMALL | settings)), seed=seed)


@pytest.mark.parametrize(
    ("family", "tasks"), [("bandit", 24), ("gridnavi", 21), ("sparse_point", 24), ("point_nav", 5)]
)
def test_an_update_plays_as_many_tasks_as_take_8000_steps(family, tasks):
    """16 episodes each with the scouts': of 100 steps, five tasks."""
    assert PearlLearner(make_family(family), Config(), seed=0).together == tasks


# --- the memory -------------------------------------------------------------------------------------------------------


def context(made: PearlLearner, rows: int = 5) -> list[Step]:
    family = made.family
    tasks = family.sample("id", torch.arange(rows))
    played = record_context(
        Random(family), family, "id", tasks, TrialNoise.of(3, torch.arange(rows)), Trial(3, 6)
    )
    return [step for steps in played for step in steps]


def begun(made: PearlLearner, steps: list[Step]):
    agent, rng = made.agent(), Rows.of(0, torch.arange(5))
    memory = agent.start(Clues(), Trial(4, 6), rng)
    return agent.begin(
        agent.absorb(memory, steps) if steps else memory, rng.at("begin"), episode=0
    ), rng


@torch.no_grad()
def test_without_a_context_the_posterior_is_the_prior():
    made = learner("gridnavi")
    memory, rng = begun(made, [])
    assert torch.equal(memory.z, rng.at("begin").normal(3))
    posterior = memory.sums.posterior()
    assert (posterior.mean == 0).all()
    assert (posterior.precision == 1).all()
    assert (posterior.divergence() == 0).all()


@torch.no_grad()
def test_order_does_not_matter_and_context_does():
    made = learner("gridnavi")
    steps = context(made)
    z, backwards = (begun(made, each)[0].z for each in (steps, steps[::-1]))
    torch.testing.assert_close(z, backwards, atol=1e-5, rtol=0)
    assert (z - begun(made, steps[1:])[0].z).abs().amax(-1).min() > 1e-4


@torch.no_grad()
def test_a_latent_is_kept_for_an_episode_and_drawn_again_for_the_next():
    made = learner("gridnavi")
    agent = made.agent()
    memory, rng = begun(made, [])
    after = agent.observe(memory, context(made)[0])
    assert torch.equal(after.z, memory.z)
    assert not torch.equal(agent.begin(after, rng.at("again"), episode=1).z, memory.z)


@torch.no_grad()
def test_dead_rows_add_no_factor():
    made = learner("gridnavi")
    live = torch.tensor([True, False, True, True, False])
    steps = [step._replace(live=live) for step in context(made)[:4]]
    memory, _ = begun(made, [])
    absorbed = made.agent().absorb(memory, steps)
    observed = memory
    for step in steps:
        observed = made.agent().observe(observed, step)
    for a, b in zip(absorbed.sums, observed.sums, strict=True):
        torch.testing.assert_close(a, b)
        assert (a[~live] == 0).all()
        assert (a[live] != 0).all()


# --- the contract -----------------------------------------------------------------------------------------------------

FAMILIES = [
    "bandit:k=3,n=6",
    "gridnavi",
    "tabular_mdp:n=2",
    "sparse_point:episodes=3",
    "point_nav:episodes=2",
]


@pytest.mark.parametrize(
    "spec",
    [
        FAMILIES[0],
        Corridor(),
        Reach(),
        *(pytest.param(spec, marks=pytest.mark.slow) for spec in FAMILIES[1:]),
    ],
    ids=str,
)
def test_keeps_the_contract(spec):
    made = learner(spec, steps_per_grad=100.0)
    made.update()
    for check in AGENT_CHECKS.values():
        check(made.agent(), made.family)


def test_a_frozen_agent_does_not_draw_actions():
    made = learner(Reach())
    agent, rng = made.agent(), Rows.of(0, torch.arange(5))
    memory = agent.begin(agent.start(Clues(), Trial(1, 5), rng), rng, episode=0)
    obs = torch.zeros(5, 2)
    modes = [agent.act(memory, obs, rng.at(name), explore=False).action for name in ("a", "b")]
    draws = [agent.act(memory, obs, rng.at(name), explore=True).action for name in ("a", "b")]
    assert torch.equal(*modes)
    assert not torch.equal(*draws)


# --- what is played ---------------------------------------------------------------------------------------------------


def test_every_step_is_counted_and_kept():
    made = learner("gridnavi", capacity=1000, steps_per_grad=20.0)
    made.update()
    assert made.env_steps == 4 * 3 * 15  # tasks, episodes, steps
    assert made.grad_steps == made.env_steps // 20
    assert made.replay.size[:5].tolist() == made.recent.size[:5].tolist() == [45, 45, 45, 45, 0]
    for _ in range(made.tasks // 4 + 1):
        made.update()
    assert made.replay.written.sum() == made.env_steps
    assert (made.recent.size == 45).all()


def test_contexts_of_the_last_times_are_kept_and_older_ones_overwritten(monkeypatch):
    made = learner(recent=2, train_tasks=4, collect_tasks=2, steps_per_grad=1000.0)
    first: list[torch.Tensor] = []
    seen: list[set[int]] = []
    read = made.recent.first
    monkeypatch.setattr(
        made.recent, "first", lambda task: (seen[-1].update(task.tolist()), read(task))[1]
    )
    for i in range(6):
        seen.append(set())
        made.updates = i
        made._play()
        made.updates = i + 1
        first.append(made.recent.rows.reward.clone())
        met = torch.arange(min(4, 2 * i + 2))
        for j in range(20):
            made._posteriors(met, Rows.of(j, met))
    assert made.recent.size.tolist() == [3] * 8
    assert seen[:3] == [
        {0, 2},
        {0, 2, 4, 6},
        {0, 1, 2, 3, 4, 6},
    ]  # rings of tasks 0 and 1, then of 2 and 3, and again
    assert seen[3] == seen[5] == set(range(8))
    changed = [(a != b).any(1).nonzero().flatten().tolist() for a, b in itertools.pairwise(first)]
    for rings, may in zip(changed, ({4, 6}, {1, 3}, {5, 7}, {0, 2}, {4, 6}), strict=True):
        assert set(rings) <= may


def test_scouts_teach_actor_and_critics_and_are_no_context():
    made, without = (
        learner("sparse_point:episodes=3", scout_episodes=n, capacity=1000) for n in (2, 0)
    )
    for each in (made, without):
        each._play()
    assert made.env_steps == 4 * (3 + 2) * 20
    assert (made.replay.size[:4] == 100).all()
    for kept, same in zip(made.recent.rows, without.recent.rows, strict=True):
        assert torch.equal(kept, same)
    action = made.replay.rows.action[:4, 60:100].reshape(4, 2, 20, 2)
    again = (action[:, :, 1:] == action[:, :, :-1]).all(-1).float()
    assert abs(again.mean() - 0.9) < 4 * (0.09 / again.numel()) ** 0.5
    assert not torch.equal(action[:, 0], action[:, 1])
    assert action.abs().max() <= 1


@pytest.mark.parametrize("spec", ["gridnavi", Corridor()], ids=str)
def test_scouts_play_every_kind_of_family(spec):
    made = learner(spec, scout_episodes=5)
    made._play()
    played = made.replay.rows.action[0, : made.replay.size[0]]
    assert set(played.tolist()) <= set(range(made.family.action.n))


def test_of_episodes_that_end_early_the_steps_until_then_count():
    made = learner(Corridor(), capacity=1000)
    made.update()
    assert made.env_steps == made.replay.written.sum() < 4 * 3 * 6
    ended = sum(
        int(made.replay.rows.terminated[i, :n].sum()) for i, n in enumerate(made.replay.size)
    )
    assert 0 < ended <= 4 * 3


def test_tasks_of_a_list_are_all_used_and_of_a_continuum_some():
    finite, other = learner("gridnavi"), learner(seed=1)
    assert finite.tasks == finite.family.support("train")
    assert torch.equal(finite._task_index(torch.arange(3)), torch.arange(3))
    assert other.tasks == 6
    assert not torch.equal(
        other._task_index(torch.arange(6)), learner()._task_index(torch.arange(6))
    )


def test_first_episodes_are_played_from_the_prior_and_later_ones_from_the_posterior(monkeypatch):
    made = learner("gridnavi", prior_episodes=2)
    precisions = []
    agent_class = type(made.agent())
    begin = agent_class.begin

    def spy(self, memory, rng, *, episode):
        precisions.append(memory.sums.precision.clone())
        return begin(self, memory, rng, episode=episode)

    monkeypatch.setattr(agent_class, "begin", spy)
    made._play()
    assert (precisions[0] == 0).all()
    assert (precisions[1] == 0).all()
    rows, size = made.recent.first(torch.arange(4)), made.recent.size[torch.arange(4)]
    assert (size == 45).all()
    torch.testing.assert_close(precisions[2], made.network.factors(rows).precision[:, :30].sum(1))


# --- what is learned --------------------------------------------------------------------------------------------------


def gradients(made: PearlLearner, monkeypatch) -> list[dict[str, float]]:
    """Of each of the losses of one step, how much gradient reaches each part of the network that is then stepped."""
    soft, found = made.network.soft, []
    parts = {"encoder": made.network.encoder, "actor": soft.actor, "critic": soft.critic}

    def spy(optimizer, loss):
        parameters, reached = optimizer.param_groups[0]["params"], {}
        for name, part in parts.items():
            grads = torch.autograd.grad(
                loss, list(part.parameters()), allow_unused=True, retain_graph=True
            )
            reached[name] = sum(g.abs().sum().item() for g in grads if g is not None)
        stepped = {id(p) for p in parameters}
        reached["stepped"] = {
            name for name, part in parts.items() if stepped & {id(p) for p in part.parameters()}
        }
        found.append(reached)
        return torch.zeros(())

    monkeypatch.setattr(made, "_step", spy)
    made._learn()
    return found


@pytest.mark.parametrize("spec", ["gridnavi", "sparse_point"])
def test_the_encoder_learns_from_the_critic_alone(spec, monkeypatch):
    made = learner(spec, kl_weight=0.0)
    made.update()
    critic, actor, _ = gradients(made, monkeypatch)
    assert critic["encoder"] > 0
    assert actor["encoder"] == 0
    assert actor["actor"] > 0
    assert critic["actor"] == 0
    assert critic["stepped"] == {"critic", "encoder"}
    assert actor["stepped"] == {"actor"}


def test_the_weight_of_the_divergence_does_not_depend_on_how_many_tasks_a_step_has(monkeypatch):
    """Every task with the same transitions and every draw the same: the loss of one task is the loss of six."""
    made = learner("gridnavi", collect_tasks=6, meta_batch=6, kl_weight=0.5)
    made._play()
    made.updates = 1
    for ring in (made.replay, made.recent):
        for room in ring.rows:
            room[:] = room[:1].clone()
    monkeypatch.setattr(
        Rows, "uniform", lambda rows, *shape, **_: torch.full((len(rows), *shape), 0.7)
    )
    losses = []
    monkeypatch.setattr(
        made, "_step", lambda _, loss: losses.append(loss.item()) or torch.zeros(())
    )
    kls = []
    for made.together in (1, 6):  # so many tasks were played
        kls.append(made._learn()["kl"])
    assert kls[0] > 0.05
    assert kls == pytest.approx(kls[:1] * 2, rel=1e-4)
    assert losses[0] == pytest.approx(losses[3], rel=1e-4)


def test_contexts_in_training_are_any_number_of_whole_episodes(monkeypatch):
    made = learner(Corridor(), collect_tasks=6)
    made._play()
    made.updates = 1
    counts = []
    monkeypatch.setattr(
        Sums,
        "beginnings",
        lambda factors, count: counts.append(count) or Sums(*[torch.ones(1)] * 3),
    )
    for i in range(200):
        made._posteriors(torch.arange(6), Rows.of(i, torch.arange(6)))
    found, episodes = torch.cat(counts, 1), made.trial.episodes
    assert episodes == 3
    for task in range(6):
        n = int(made.recent.size[task])
        rows = made.recent.rows
        ends = (
            rows.terminated[task, :n] | (rows.obs[task].roll(-1)[:n] == 2)
        ).nonzero().flatten() + 1
        assert {0, n} <= set(found[task].tolist()) <= {0, n, *ends.tolist()}
        assert (
            abs((found[task] == 0).float().mean() - 0.25)
            < 4 * (0.25 * 0.75 / found.shape[1]) ** 0.5
        )


def test_the_latent_tells_nothing_but_the_context():
    """Rows that the critic learns from do not enter the posterior: another replay, the same divergence."""
    one, two = learner("gridnavi"), learner("gridnavi")
    for made in (one, two):
        made._play()
        made.updates = 1
    two.replay.rows.critic_reward.mul_(0.0)
    assert one._learn()["kl"] == two._learn()["kl"]


def test_dense_rewards_are_for_the_critic_alone():
    made = learner("sparse_point", critic_reward="dense")
    made.update()
    assert made.agent().card.supervision == "reward, dense in critic"
    assert learner("sparse_point").agent().card.supervision == "reward"
    n = int(made.replay.size[0])
    rows = made.replay.rows
    goal = made.family.sample("train", torch.arange(1)).params["goal"]
    torch.testing.assert_close(
        rows.critic_reward[0, :n], -(rows.next_obs[0, :n] - goal).norm(dim=-1)
    )
    for kept in (made.replay.rows, made.recent.rows):
        assert (kept.reward >= 0).all()
        assert (kept.critic_reward <= 0).all()
    features = made.network.features(rows).critic_reward[0, :n]
    torch.testing.assert_close(features, rows.critic_reward[0, :n] / made.network.largest_judged)
    AGENT_CHECKS["card_is_sane"](made.agent(), made.family)
    with pytest.raises(UserError, match="bandit:k=3,n=6 has no dense reward"):
        learner(critic_reward="dense")


def test_rewards_are_scaled_by_the_largest_seen_and_play_does_not_move_that():
    made = learner("sparse_point:variant=dense", critic_reward="own")
    made.update()
    assert made.network.largest == made.replay.rows.reward.abs().max()
    assert made.network.features(made.replay.rows).critic_reward.abs().max() == 1
    before = made.network.largest.clone()
    evaluate(
        made.agent(),
        make_family("sparse_point:variant=dense"),
        Plan(split="shift/reward_scale/4", trials=20),
    )
    assert torch.equal(before, made.network.largest)


@pytest.mark.parametrize("spec", ["bandit:k=3,n=6", "sparse_point:episodes=3"])
def test_equal_seeds_train_equally_and_a_restored_learner_goes_on_bit_for_bit(spec):
    rare = {"steps_per_grad": 30.0}
    one, two, three = (learner(spec, **rare) for _ in range(3))
    lines = [one.update() for _ in range(4)]
    assert [two.update() for _ in range(2)] == lines[:2]
    three.load_state_dict(two.state_dict())
    assert [three.update() for _ in range(2)] == lines[2:]
    for a, b in zip(one.network.parameters(), three.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert learner(spec, seed=1, **rare).update() != lines[0]


def test_no_global_generator_moves():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    learner("sparse_point:episodes=2").update()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_an_update_that_comes_to_no_number_is_refused(tmp_path):
    made = learner("gridnavi")
    made.update()
    made.network.encoder.layers.biases[0].data[:] = math.nan
    with pytest.raises(DivergenceError, match=r"row 0 has \[nan"):  # its actor can draw nothing
        refuse_nan(tmp_path, {"env_steps": 1, **made.update()})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"latent": 0}, "PEARL needs latent 1 or more; found 0"),
        ({"gamma": 1.5}, "PEARL needs gamma from 0 to 1; found 1.5"),
        ({"lr": 0.0}, "PEARL needs lr above 0; found 0.0"),
        ({"kl_weight": -1.0}, "PEARL needs kl_weight 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        Config(**settings)


def test_several_processes_are_refused():
    two = Workers()
    two.count = 2
    with pytest.raises(UserError, match="PEARL trains in one process"):
        PearlLearner(make_family("gridnavi"), Config(), seed=0, workers=two)


@pytest.mark.slow
def test_learns_to_reach():
    """Where nearness to a hidden target is paid, the lower bound of the gain over random play is above 0.6 a trial.

    Random play earns -13 in a trial of two episodes of five steps; who knows the target gains about 5.
    """
    family = Reach()
    settings = {
        "hidden": 32,
        "episodes": 2,
        "train_tasks": 100,
        "collect_tasks": 50,
        "recent": 4,
        "capacity": 1000,
    }
    made = learner(family, **settings, encoder_hidden=16, meta_batch=8, batch=16, lr=3e-3)
    while made.grad_steps < 600:
        made.update()
    ours, random = (evaluate(a, family, Plan(trials=2000)) for a in (made.agent(), Random(family)))
    gain = (ours.total["trial_return"][1] - random.total["trial_return"][1])[..., -1].sum(-1) / (
        2000 / 64
    )
    low = gain.mean() - 3 * gain.std(ddof=1) / np.sqrt(len(gain))
    assert low > 0.6
