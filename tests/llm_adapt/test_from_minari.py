"""Minari datasets as demonstrations and histories: spaces, tasks by a column, and what does not fit."""

import importlib.util
import sys
import types

import gymnasium
import minari
import numpy as np
import optree
import pytest
import torch
from gymnasium import spaces
from minari.data_collector.episode_buffer import EpisodeBuffer

from bridge.errors import UserError
from bridge.protocol import Card
from bridge.tasks import family as make_family
from llm_adapt import minari_package
from llm_adapt.data import opened, read, stored
from llm_adapt.finetuning import Config, Demonstrations
from llm_adapt.icl_ad import Config as AdConfig
from llm_adapt.icl_ad import IclAdLearner
from llm_adapt.icl_dpt import Config as DptConfig
from llm_adapt.icl_dpt import IclDptLearner
from llm_adapt.in_context import InContext
from llm_adapt.policy import Decoder

CARTPOLE = "gym:CartPole-v1,steps=50,episodes=2"
SMALL = {"hidden": 8, "layers": 1, "heads": 2, "window": 8}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """Minari's datasets lie where the test's do, and its collector has a map over trees without jax."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    if importlib.util.find_spec("jax") is None:
        tree_util = types.SimpleNamespace(tree_map=optree.tree_map)
        monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(tree_util=tree_util))
        monkeypatch.setitem(sys.modules, "jax.tree_util", tree_util)
    return tmp_path / "minari"


def collected(name: str, env: gymnasium.Env, episodes: int, options=lambda episode: None, **given):
    """Episodes of random play, as minari's own collector keeps them; returns the steps as they were."""
    collector = minari.DataCollector(env, **given)
    env.action_space.seed(0)
    seen = []
    for episode in range(episodes):
        obs, _ = collector.reset(seed=episode, options=options(episode))
        over = False
        while not over:
            action = collector.action_space.sample()
            after, reward, terminated, truncated, _ = collector.step(action)
            over = terminated or truncated
            seen.append((obs, action, reward, after, over))
            obs = after
    with minari_package.quiet():
        collector.create_dataset(name)
    collector._tmp_dir.cleanup()  # close() removes the folder, and Python warns of it all the same
    return seen


def cartpole(name: str = "cart-v0", episodes: int = 6, **given):
    return collected(name, gymnasium.make("CartPole-v1", max_episode_steps=50), episodes, **given)


def written(name: str, observation: gymnasium.Space, action: gymnasium.Space, *episodes, **about):
    """A dataset of episodes that are given as observations, actions and infos."""
    buffers = []
    for number, (obs, actions, infos) in enumerate(episodes):
        steps = len(actions)
        rewards = [float(number)] * steps
        last = [False] * (steps - 1) + [True]
        never = [False] * steps
        buffers.append(
            EpisodeBuffer(
                observations=obs,
                actions=actions,
                rewards=rewards,
                terminations=last,
                truncations=never,
                infos=infos,
            )
        )
    with minari_package.quiet():
        return minari.create_dataset_from_buffers(
            name, buffers, observation_space=observation, action_space=action, **about
        )


def cart_episodes(*tasks, steps=3):
    """Episodes of CartPole's spaces, of zeros, with a task as an info."""
    obs, actions = np.zeros((steps + 1, 4), np.float32), [0] * steps
    return [(list(obs), actions, {"length": [task] * (steps + 1)}) for task in tasks]


def cart_spaces():
    env = gymnasium.make("CartPole-v1")
    return env.observation_space, env.action_space


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_what_a_collector_kept_comes_in_as_the_family_observes_it(data_format):
    seen = cartpole(data_format=data_format)
    family = make_family(CARTPOLE)
    shown = stored("minari:cart-v0", family)
    assert shown.split == "train"
    assert len(shown.rows) == 3  # six episodes, two a trial
    found = read(shown.rows, range(3))
    inside = torch.arange(found.steps.reward.shape[1]) < found.length[:, None]
    obs, action, reward, after, over = zip(*seen, strict=True)
    assert torch.equal(found.steps.obs[inside], family.observed(obs))
    assert torch.equal(found.steps.next_obs[inside], family.observed(after))
    assert found.steps.action[inside].tolist() == [int(each) for each in action]
    assert found.steps.reward[inside].tolist() == list(reward)
    assert found.steps.end[inside].bool().tolist() == list(over)


def test_it_is_what_finetuning_imitates():
    seen = cartpole()
    family = make_family(CARTPOLE)
    policy = Decoder(**SMALL).policy(family)
    agent = InContext(policy, Card(method="x"))
    signal = Demonstrations(agent, family, stored("minari:cart-v0", family), Config(batch=64))
    assert signal.env_steps == len(seen)
    loss, metrics = signal.loss(0, 1.0)
    assert torch.isfinite(loss)
    assert 0 <= metrics["hits"] <= 1


def test_icl_ad_is_trained_on_it_shard_by_shard_until_its_end():
    seen = cartpole()
    family = make_family(CARTPOLE)
    config = AdConfig(data="minari:cart-v0", batch=32, passes=1.0, steps_per_update=40, **SMALL)
    learner = IclAdLearner(family, config, seed=0)
    assert learner.collection.trial == (2, 50)
    while learner.env_steps < len(seen):
        learner.update(0.1 + 0.9 * learner.env_steps / len(seen))
    assert learner.updates > 1
    assert torch.cat([torch.tensor(shard["length"]) for shard in learner.pool]).sum() == len(seen)
    with pytest.raises(UserError, match=r"minari:cart-v0 holds .* Take a larger dataset, or lower"):
        learner._check_supply(0.01)
    with pytest.raises(UserError, match=r"minari:cart-v0 holds .* and more are needed"):
        learner.collection.shard(learner.updates)


def test_a_dataset_without_an_oracle_is_not_for_decision_pretraining():
    cartpole()
    config = DptConfig(data="minari:cart-v0", **SMALL)
    with pytest.raises(UserError, match=r"icl_dpt imitates an oracle's actions.*Train icl_ad"):
        _ = IclDptLearner(make_family(CARTPOLE), config, seed=0).collection


def test_episodes_of_a_task_are_histories_by_a_column():
    """Tasks 0.5, 0.7, 0.5, 0.5, 0.5, 0.7, two episodes a trial; the reward is the episode's number."""
    written("c-v0", *cart_spaces(), *cart_episodes(0.5, 0.7, 0.5, 0.5, 0.5, 0.7))
    shown = stored("minari:c-v0+task=length", make_family(CARTPOLE))
    found = read(shown.rows, range(3)).steps.reward[:, ::3]
    assert found.tolist() == [[0, 2], [1, 5], [3, 4]]
    assert shown.tasks.tolist() == [0, 1, 0]
    alone = stored("minari:c-v0", make_family(CARTPOLE))
    assert read(alone.rows, range(3)).steps.reward[:, ::3].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_column_may_be_metadata_and_lie_within_others():
    """The options of a reset, as the collector keeps them, and metadata that were added later."""

    def options(episode):
        return {"low": -0.01 * (1 + episode % 2), "high": 0.05}

    cartpole(options=options)
    dataset = minari.load_dataset("cart-v0")
    dataset.storage.update_episode_metadata([{"who": name} for name in "aabbcc"])
    family = make_family(CARTPOLE)
    for column, tasks in (("options/low", [0, 1, 0, 1]), ("who", [0, 1, 2])):
        assert stored(f"minari:cart-v0+task={column}", family).tasks.tolist() == tasks


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            "lenght",
            r"Unknown column of tasks 'lenght'. Did you mean 'length'\? Known: .*total_steps",
        ),
        ("step", r"Episode 0 of c-v0 has several values of 'step'.*Name a column that stays"),
        ("state", r"Episode 0 of c-v0 has an array as its 'state'"),
    ],
)
def test_a_column_that_is_no_task_is_refused(column, message):
    infos = {"length": [0.5] * 4, "step": [0, 1, 2, 3], "state": list(np.zeros((4, 2)))}
    written("c-v0", *cart_spaces(), (cart_episodes(0)[0][0], [0] * 3, infos))
    with pytest.raises(UserError, match=message):
        stored(f"minari:c-v0+task={column}", make_family(CARTPOLE))


@pytest.mark.parametrize("place", ["minari:c-v0+column=x", "minari:c-v0+task=", "minari:c-v0+"])
def test_a_place_that_is_malformed_is_refused(place):
    with pytest.raises(UserError, match=r"Write minari:c-v0\+task=COLUMN"):
        stored(place, make_family(CARTPOLE))


def of_parts():
    """Spaces of parts, and the values of an episode of two steps."""
    return (
        spaces.Dict({"b": spaces.Discrete(3), "a": spaces.Box(-1, 1, (2,))}),
        spaces.MultiDiscrete([2, 3], start=[1, 0]),
        [{"b": b, "a": np.float32([b / 4, -0.5])} for b in (0, 2, 1)],
        np.array([[1, 2], [2, 0]]),
    )


def of_others():
    """A discrete observation that begins at 2, a vector as an action, and the values of an episode of two steps."""
    return (
        spaces.Discrete(4, start=2),
        spaces.Box(np.float32([-2, 0]), np.float32([2, 1])),
        [2, 5, 3],
        np.float32([[0.1, 0.3], [-2, 1]]),
    )


@pytest.mark.parametrize("made", [of_parts, of_others])
def test_spaces_of_all_kinds_are_read_as_the_family_reads_them(made, monkeypatch):
    observation, action, obs, actions = made()

    class Env(gymnasium.Env):
        observation_space, action_space = observation, action

        def reset(self, *, seed=None, options=None):
            return obs[0], {}

    spec = gymnasium.envs.registration.EnvSpec("AllKinds-v0", Env, max_episode_steps=2)
    monkeypatch.setitem(gymnasium.registry, "AllKinds-v0", spec)
    family = make_family("gym:AllKinds-v0")
    kept = {key: [each[key] for each in obs] for key in obs[0]} if made is of_parts else obs
    written("p-v0", observation, action, (kept, list(actions), {}))
    found = read(stored("minari:p-v0", family).rows, [0]).steps
    expected = family.observed(obs)
    assert torch.equal(found.obs[0], expected[:2])
    assert torch.equal(found.next_obs[0], expected[1:])
    assert np.array_equal(family.taken(found.action[0]), actions)


def test_spaces_that_do_not_match_are_refused_by_both_names():
    cartpole()
    with pytest.raises(
        UserError,
        match=r"The observations of cart-v0 are vectors from .*; those of gym:env=Acrobot",
    ):
        stored("minari:cart-v0", make_family("gym:Acrobot-v1"))
    written("a-v0", cart_spaces()[0], spaces.Discrete(3), *cart_episodes(0))
    with pytest.raises(
        UserError,
        match=r"actions of a-v0 are integers from 0 to 2; those of .* from 0 to 1. Choose",
    ):
        stored("minari:a-v0", make_family(CARTPOLE))


def test_an_episode_longer_than_the_family_s_is_refused():
    written("c-v0", *cart_spaces(), *cart_episodes(0, steps=51))
    with pytest.raises(UserError, match=r"Episode 0 of c-v0 has 51 steps; .* has 1 to 50. Choose"):
        stored("minari:c-v0", make_family(CARTPOLE))


def test_episodes_that_lack_an_observation_and_datasets_without_episodes_are_refused():
    obs, actions, _ = cart_episodes(0)[0]
    written("c-v0", *cart_spaces(), (obs[:-1], actions, {}))
    with pytest.raises(UserError, match=r"dataset c-v0 cannot be read \(ValueError: 3 obs"):
        stored("minari:c-v0", make_family(CARTPOLE))
    with minari_package.quiet():
        observation, action = cart_spaces()
        minari.create_dataset_from_buffers(
            "e-v0", [], observation_space=observation, action_space=action
        )
    with pytest.raises(UserError, match=r"e-v0 has no episodes"):
        stored("minari:e-v0", make_family(CARTPOLE))


def test_a_dataset_that_is_not_here_or_damaged_is_named_with_the_remedy(root):
    cartpole()
    family = make_family(CARTPOLE)
    with pytest.raises(
        UserError,
        match=r"no Minari dataset 'cat-v0' .*'cart-v0'\? Fetch it: minari download cat-v0",
    ):
        stored("minari:cat-v0", family)
    (root / "without-version" / "data").mkdir(parents=True)  # minari fails to list it
    with pytest.raises(UserError, match=r"no Minari dataset 'cat-v0' on this machine. Fetch it"):
        stored("minari:cat-v0", family)
    with pytest.raises(UserError, match=r"NAME-v0, or FOLDER/NAME-v0"):
        opened("minari:cart-v0,task=x", family, 100)
    (root / "cart-v0" / "data" / "main_data.hdf5").write_bytes(b"none")
    with pytest.raises(UserError, match=r"dataset cart-v0 cannot be read .* Fetch it or make it"):
        stored("minari:cart-v0", family)


def test_its_name_is_of_its_content():
    """An episode more is another name, so that a tuning does not go on with other demonstrations."""
    family = make_family(CARTPOLE)
    dataset = written("c-v0", *cart_spaces(), *cart_episodes(0, 0))
    one = stored("minari:c-v0", family).name
    assert stored("minari:c-v0", family).name == one
    last = [False, False, True]
    dataset.update_dataset_from_buffer(
        [
            EpisodeBuffer(
                observations=list(np.zeros((4, 4), np.float32)),
                actions=[0] * 3,
                rewards=[0.0] * 3,
                terminations=last,
                truncations=last,
            )
        ]
    )
    assert stored("minari:c-v0", family).name != one
