"""Meta-World: places are ours and in no two splits, steps and successes are the package's own, errors name a remedy."""

import builtins
import pickle
import sys

import mujoco
import numpy as np
import pytest
import torch

from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.play import transition
from bridge.protocol import Card, Decision
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.tasks.metaworld import sawyer
from bridge.tasks.metaworld.family import MetaWorld
from bridge.tasks.metaworld.suites import DISTANCES, HOLES

IDS = torch.arange(3)
GOAL = slice(36, 39)


def theirs(name, places, *, goal_seen=False, steps=500):
    """Meta-World's own environment at these places, and its first observation."""
    import metaworld

    kind = metaworld.env_dict.ALL_V3_ENVIRONMENTS[name]
    env = kind()
    env.max_path_length = steps
    rand_vec = places[: len(env._random_reset_space.low)].numpy()
    about = {"env_cls": kind, "rand_vec": rand_vec, "partially_observable": not goal_seen}
    env.set_task(metaworld.Task(name, pickle.dumps(about)))
    return env, env.reset()[0]


class Scripted:
    """Metaworld's own policy of an environment, which reads the goal off the task."""

    def __init__(self, name):
        from metaworld.policies import ENV_POLICY_MAP

        self.policy, self.card = (
            ENV_POLICY_MAP[name](),
            Card(method="scripted", clue="task", reference=True),
        )

    def start(self, clues, trial, rng):
        return clues.task.params["places"][:, 3:].float()

    def begin(self, memory, rng, *, episode):
        return memory

    def act(self, memory, obs, rng, *, explore):
        seen = torch.cat([obs[:, : GOAL.start], memory], 1).double().numpy()
        actions = np.stack([self.policy.get_action(row) for row in seen])
        return Decision(torch.from_numpy(actions).float().clamp(-1, 1))

    def observe(self, memory, step, carry=None):
        assert step.succeeded is None
        return memory

    def adapt(self, memory, rng, *, episode, last):
        return memory


# --- tasks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["metaworld", "metaworld:tasks=50"])
def test_no_places_are_in_two_splits_or_come_twice(spec):
    family, ids = make_family(spec), torch.arange(5_000)
    drawn = [family.sample(split, ids).params["places"] for split in ("train", "id_val", "id")]
    counts = [50 if spec.endswith("50") else len(ids), len(ids), len(ids)]
    for split, count in zip(drawn, counts, strict=True):
        assert len({tuple(row) for row in split[:, 3:].tolist()}) == count
    goals = {tuple(row) for row in torch.cat(drawn)[:, 3:].tolist()}
    assert len(goals) == sum(counts)


def test_task_i_is_of_environment_i_and_every_axis_level_replaces_a_share(monkeypatch):
    monkeypatch.setattr(sawyer, "places_of", lambda _: sawyer.Places(np.zeros(6), np.ones(6)))
    family, ids = MetaWorld(suite="ml10", steps=4), torch.arange(1_000)
    known = {
        split: family.sample(split, ids).params["environment"]
        for split in ("train", "id_val", "id")
    }
    for environment in known.values():
        assert torch.equal(environment, ids % 10)
    for level, share in enumerate((0.25, 0.5, 0.75, 1.0), 1):
        environment = family.sample(f"shift/environment/{level}", ids).params["environment"]
        assert float((environment >= 10).double().mean()) == pytest.approx(share, abs=0.05)
        kept = environment < 10
        assert torch.equal(environment[kept], ids[kept] % 10)
    assert environment.unique().tolist() == [10, 11, 12, 13, 14]


def test_suites_and_names_are_the_packages_own():
    from metaworld import env_dict

    assert set(DISTANCES) == set(env_dict.ALL_V3_ENVIRONMENTS)
    ml10, mt10 = MetaWorld(suite="ml10"), MetaWorld(suite="mt10")
    assert ml10.environments == (*env_dict.ML10_V3["train"], *env_dict.ML10_V3["test"])
    assert mt10.environments == tuple(env_dict.MT10_V3)
    assert MetaWorld(env="push-v3").environments == ("push-v3",)
    assert not mt10.axes
    assert MetaWorld().trial("id") == (3, 500)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "reach-v3" else pytest.mark.slow)
        for name in DISTANCES
    ],
)
def test_resets_accept_exactly_the_places_that_are_drawn(name):
    """The environment, given places at its distance or just below it, takes the first ones that are far enough."""
    family = MetaWorld(env=name)
    places = family.sample("id", torch.arange(500)).params["places"]
    env, _ = theirs(name, places[0])
    low, high = env._random_reset_space.low, env._random_reset_space.high
    used = places[:, : len(low)].numpy()
    assert ((low <= used) & (used <= high)).all()
    assert not places[:, len(low) :].any()
    distance, given = DISTANCES[name], []

    def next_places():
        given.append(queue.pop(0))
        return given[-1]

    env._get_state_rand_vec = next_places
    far, near = places[0, : len(low)].numpy(), None
    if distance:
        goal = torch.tensor(HOLES[name]) if name in HOLES else places[:, 3:5]
        assert float((places[:, :2] - goal).norm(dim=1).min()) >= distance
        near, far = far.copy(), far.copy()
        near[:2] = far[:2] = HOLES.get(name, far[3:5])
        near[1], far[1] = near[1] - distance + 1e-6, far[1] - distance - 1e-6
    queue = [far] if near is None else [near, near, far]
    env.reset_model()
    assert given[-1] is far
    assert not queue


# --- the simulator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "number"),
    [
        ("metaworld:env=push-v3,steps=6", 0),
        ("metaworld:suite=mt10,steps=6", 2),
        *(
            pytest.param(f"metaworld:suite={suite},steps=20", number, marks=pytest.mark.slow)
            for suite in ("ml10", "mt10")
            for number in range(10)
        ),
    ],
)
def test_steps_are_those_of_the_packages_own_environment(spec, number):
    family = make_family(spec)
    tasks, noise = family.sample("id", torch.tensor([number])), Rows.of(0, torch.zeros(1).long())
    goal_seen, horizon = family.suite == "mt10", family.trial("id").horizon
    places, name = tasks.params["places"][0], family.environments[number]
    env, first = theirs(name, places, goal_seen=goal_seen, steps=horizon)
    state, obs = family.reset(tasks, noise)
    for t in range(horizon + 1):
        assert np.array_equal(obs[0].numpy(), first.astype(np.float32))
        assert obs[0, GOAL].any() == goal_seen
        if t == horizon:
            assert outcome.truncated.tolist() == [True]
            break
        action = 2 * noise.at("act", t).uniform(4) - 1
        first, reward, *_, info = env.step(action[0].numpy())
        outcome = family.step(tasks, state, action, noise)
        assert outcome.reward.tolist() == [np.float32(reward)]
        assert outcome.succeeded.tolist() == [bool(info["success"])]
        assert outcome.terminated.tolist() == [False]
        state, obs = outcome.state, outcome.obs


def test_an_environment_that_played_another_task_begins_as_a_new_one_does():
    family = MetaWorld(env="push-v3", steps=30)
    tasks, noise = family.sample("id", torch.tensor([0])), Rows.of(0, torch.zeros(1).long())
    other = family.sample("id", torch.tensor([1]))
    action = torch.tensor([[0.3, 1.0, -1.0, 1.0]])

    def played(family, tasks):
        state, obs = family.reset(tasks, noise)
        for _ in range(20):
            yield obs
            state, obs = family.step(tasks, state, action, noise)[:2]

    first = list(played(family, tasks))
    list(played(family, other))
    for again in (family, MetaWorld(env="push-v3", steps=30)):
        assert torch.equal(torch.cat(list(played(again, tasks))), torch.cat(first))


def test_actions_beyond_their_bounds_are_clipped():
    family = MetaWorld(steps=3)
    tasks, noise = family.sample("id", IDS), Rows.of(0, IDS)
    state, _ = family.reset(tasks, noise)
    found = [
        family.step(tasks, state, torch.full((3, 4), size), noise).obs for size in (1.0, 100.0)
    ]
    assert torch.equal(*found)


# --- scores -----------------------------------------------------------------------------------------------------------


def test_the_flag_of_success_is_the_evaluators_alone():
    """Rows that do not act have none."""
    family = MetaWorld(steps=3)
    tasks, noise = family.sample("id", IDS), Rows.of(0, IDS)
    state, obs = family.reset(tasks, noise)
    arm = family._stage._envs
    for env in arm:
        env.env.unwrapped.evaluate_state = lambda obs, action: (0.5, {"success": 1.0})
    live = torch.tensor([True, False, True])
    for alive in (None, live):
        _, step = transition(family, tasks, state, obs, torch.zeros(3, 4), noise, False, alive)
        assert torch.equal(
            family.success(tasks, step), torch.ones(3, dtype=torch.bool) if alive is None else live
        )
        assert step.without_success.succeeded is None
        assert torch.equal(step.without_success.reward, step.reward)


@pytest.mark.filterwarnings("ignore:Constant")  # which the environment clips
@pytest.mark.parametrize(
    ("spec", "scripted"),
    [
        ("metaworld:episodes=1,steps=80", 1.0),
        pytest.param("metaworld:env=push-v3,episodes=1,steps=120", 0.5, marks=pytest.mark.slow),
    ],
)
def test_the_packages_scripted_policy_succeeds_and_random_play_does_not(spec, scripted):
    """Every trial is one of the mean, at any step: the policy stays at the goal until the end, as nothing stops it."""
    from bridge.references.random import Random

    family = make_family(spec)
    plan = Plan(split="id", trials=4)
    found = evaluate(Scripted(family.env), family, plan)
    assert found.mean("success") >= scripted
    assert evaluate(Random(family), family, plan).mean("success") == 0


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("env=reech-v3", "Unknown environment of Meta-World 'reech-v3'. Did you mean 'reach-v3'?"),
        ("suite=ml10,env=push-v3", "ml10 has ten of its own. Leave out env=push-v3"),
        ("steps=10001", "at most 10,000 steps; found steps=10,001. Lower it"),
        ("suite=ml45", "ml45"),
    ],
)
def test_what_is_not_there_is_refused(given, message):
    with pytest.raises(UserError) as caught:
        make_family(f"metaworld:{given}")
    assert message in str(caught.value)


def test_without_metaworld_it_is_refused_with_the_remedy(monkeypatch):
    without(monkeypatch, "metaworld")
    with pytest.raises(UserError, match=r"need metaworld 3.1 or newer .*'metabridge\[metaworld\]'"):
        MetaWorld(steps=5).make(0)


def test_another_mujoco_is_refused_with_the_version_to_take(monkeypatch):
    """Resets of metaworld 3.1.1 fail on mujoco 4."""
    monkeypatch.setattr(mujoco, "__version__", "4.0.0")
    expected = (
        r"Meta-World's environments need mujoco from 3.3 up to 3.5, .*; found 4.0.0. Install it: "
        r"pip install 'metabridge\[metaworld\]'"
    )
    with pytest.raises(UserError, match=expected):
        MetaWorld(steps=5).make(0)


def without(monkeypatch, package):
    """Let ``package`` be missing, also where it has been imported before."""
    found = builtins.__import__

    def imported(name, *args, **kwargs):
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {package!r}")
        return found(name, *args, **kwargs)

    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(builtins, "__import__", imported)
