"""The families in Gymnasium's wrappers: what a wrapper counts or changes is what it should be."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector

from bridge.tasks import FAMILIES
from bridge.tasks.to_gymnasium import FamilyVectorEnv
from tests.bridge.short import LENGTHS, SHORT

every_family = pytest.mark.parametrize("name", FAMILIES)
every_kind = pytest.mark.parametrize("name", ["bandit", "gridnavi", "sparse_point"])
"""One family for each pair of an observation space and an action space."""


def single(name: str) -> gymnasium.Env:
    return gymnasium.make(f"metabridge/{name}-v0", spec=SHORT[name])


def singles(name: str, rows: int, mode: AutoresetMode) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: single(name)] * rows, autoreset_mode=mode)


def same(a: Any, b: Any) -> None:
    assert data_equivalence(a, b, exact=True), f"{a} is not {b}"


# --- one environment --------------------------------------------------------------------------------------------------

WRAPPERS: dict[str, Callable[[gymnasium.Env], gymnasium.Env]] = {
    "Autoreset": wrappers.Autoreset,
    "ClipAction": wrappers.ClipAction,
    "ClipReward": lambda env: wrappers.ClipReward(env, -1, 1),
    "DelayObservation": lambda env: wrappers.DelayObservation(env, 2),
    "DiscretizeAction": lambda env: wrappers.DiscretizeAction(env, 3),
    "DiscretizeObservation": lambda env: wrappers.DiscretizeObservation(env, 3),
    "FlattenObservation": wrappers.FlattenObservation,
    "FrameStackObservation": lambda env: wrappers.FrameStackObservation(env, 3),
    "NormalizeObservation": wrappers.NormalizeObservation,
    "NormalizeReward": wrappers.NormalizeReward,
    "OrderEnforcing": wrappers.OrderEnforcing,
    "PassiveEnvChecker": wrappers.PassiveEnvChecker,
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "RepeatAction": lambda env: wrappers.RepeatAction(env, 2),
    "RescaleAction": lambda env: wrappers.RescaleAction(env, np.float32(-2), np.float32(2)),
    "RescaleObservation": lambda env: wrappers.RescaleObservation(
        env, np.float32(0), np.float32(1)
    ),
    "StickyAction": lambda env: wrappers.StickyAction(env, 0.3),
    "TimeAwareObservation": lambda env: wrappers.TimeAwareObservation(wrappers.TimeLimit(env, 9)),
    "TimeLimit": lambda env: wrappers.TimeLimit(env, 3),
    "TransformReward": lambda env: wrappers.TransformReward(env, lambda reward: 2 * float(reward)),
}
OF_BOX_ACTIONS = {"ClipAction", "DiscretizeAction", "RescaleAction"}
OF_BOX_OBSERVATIONS = {"DiscretizeObservation", "RescaleObservation"}


def fits(wrapper: str, action: Any, observation: Any) -> bool:
    """Some wrappers are for vectors alone, and refuse anything else themselves."""
    return (wrapper not in OF_BOX_ACTIONS or isinstance(action, Box)) and (
        wrapper not in OF_BOX_OBSERVATIONS or isinstance(observation, Box)
    )


@every_kind
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_environment_plays_through_episodes(name: str, wrapper: str) -> None:
    plain = single(name)
    if not fits(wrapper, plain.action_space, plain.observation_space):
        with pytest.raises(TypeError, match="Box"):
            WRAPPERS[wrapper](plain)
        return
    env = WRAPPERS[wrapper](plain)
    env.action_space.seed(0)
    env.reset(seed=0)
    ends = 0
    for _ in range(25):
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert np.shape(obs) == env.observation_space.shape
        assert np.isfinite(float(reward))
        if terminated or truncated:
            ends += 1
            if wrapper != "Autoreset":
                env.reset()
    assert ends > 0 or LENGTHS[name] > 25


@every_family
def test_statistics_of_an_episode_are_its_length_and_return(name: str) -> None:
    """Under the wrapper's own key, which an environment may not use."""
    env = wrappers.RecordEpisodeStatistics(single(name))
    env.action_space.seed(1)
    for episode in range(3):
        env.reset(seed=1 if episode == 0 else None)
        rewards, over = [], False
        while not over:
            _, reward, terminated, truncated, info = env.step(env.action_space.sample())
            rewards.append(reward)
            over = terminated or truncated
            assert ("episode" in info) == over
        assert (info["episode"]["l"], info["episode"]["r"]) == (len(rewards), sum(rewards))
        assert info["trial_episode"] == (episode if name == "bandit" else episode % 2)
    assert env.episode_count == 3


@every_family
def test_a_limit_of_steps_truncates_and_the_trial_goes_on(name: str) -> None:
    env = wrappers.TimeLimit(single(name), 3)
    still = np.zeros_like(env.action_space.sample())
    env.reset(seed=0)
    for episode in range(2):
        for _ in range(min(3, LENGTHS[name])):
            _, _, terminated, truncated, info = env.step(still)
        assert info["trial_episode"] == episode
        assert (terminated, truncated) == ((True, False) if name == "bandit" else (False, True))
        env.reset()


@every_family
def test_a_flattened_observation_is_the_observation(name: str) -> None:
    plain, flat = single(name), wrappers.FlattenObservation(single(name))
    obs, _ = plain.reset(seed=2)
    expected = (
        np.eye(plain.observation_space.n)[obs]
        if isinstance(plain.observation_space, Discrete)
        else obs
    )
    assert flat.reset(seed=2)[0].tolist() == expected.tolist()


def test_a_repeated_action_stops_at_the_end_of_an_episode() -> None:
    env = wrappers.RepeatAction(single("gridnavi"), 4)
    env.reset(seed=0)
    outcomes = [env.step(0) for _ in range(4)]
    assert [truncated for _, _, _, truncated, _ in outcomes] == [False, False, False, True]
    assert sum(float(reward) for _, reward, *_ in outcomes) == pytest.approx(-0.1 * 15)


# --- many at once -----------------------------------------------------------------------------------------------------

VECTOR_WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "ClipAction": vector.ClipAction,
    "ClipReward": lambda envs: vector.ClipReward(envs, -1, 1),
    "DictInfoToList": vector.DictInfoToList,
    "FlattenObservation": vector.FlattenObservation,
    "NormalizeReward": vector.NormalizeReward,
    "RecordEpisodeStatistics": vector.RecordEpisodeStatistics,
    "RescaleAction": lambda envs: vector.RescaleAction(envs, -2, 2),
    "RescaleObservation": lambda envs: vector.RescaleObservation(
        envs, np.float32(0), np.float32(1)
    ),
    "TransformReward": lambda envs: vector.TransformReward(envs, lambda reward: 2 * reward),
}


def without_times(infos: Any) -> Any:
    """What the wrapper of statistics says of episodes, but for how long they took."""
    if isinstance(infos, dict) and "episode" in infos:
        return infos | {
            "episode": {key: value for key, value in infos["episode"].items() if key != "t"}
        }
    return infos


@every_kind
@pytest.mark.parametrize("wrapper", VECTOR_WRAPPERS)
def test_a_wrapped_batch_is_a_wrapped_loop(name: str, wrapper: str) -> None:
    """All rows are reset when one ends: Gymnasium's own loop keeps the mask of a partial reset from its wrappers."""
    ours, theirs = FamilyVectorEnv(3, SHORT[name]), singles(name, 3, AutoresetMode.DISABLED)
    if not fits(wrapper, ours.single_action_space, ours.single_observation_space):
        with pytest.raises(TypeError, match="Box"):
            VECTOR_WRAPPERS[wrapper](ours)
        return
    ours, theirs = (VECTOR_WRAPPERS[wrapper](envs) for envs in (ours, theirs))
    ours.action_space.seed(0)
    same(ours.reset(seed=0), theirs.reset(seed=0))
    for _ in range(25):
        actions = ours.action_space.sample()
        found, expected = ours.step(actions), theirs.step(actions)
        same(found[:4], expected[:4])
        same(without_times(found[4]), without_times(expected[4]))
        if (found[2] | found[3]).any():
            same(ours.reset(), theirs.reset())


@every_family
def test_statistics_of_rows_that_end_apart_are_those_of_each(name: str) -> None:
    """Rows are set apart by a reset in the middle of an episode, which the statistics begin anew."""
    envs = vector.RecordEpisodeStatistics(FamilyVectorEnv(2, SHORT[name]))
    envs.action_space.seed(0)
    envs.reset(seed=0)
    lengths, returns = np.zeros(2, dtype=int), np.zeros(2)
    for t in range(2 * LENGTHS[name] + 5):
        _, reward, terminated, truncated, infos = envs.step(envs.action_space.sample())
        lengths, returns, over = lengths + 1, returns + reward, terminated | truncated
        assert ("episode" in infos) == over.any()
        if over.any():
            assert infos["_episode"].tolist() == over.tolist()
            assert infos["episode"]["l"].tolist() == np.where(over, lengths, 0).tolist()
            assert infos["episode"]["r"] == pytest.approx(np.where(over, returns, 0))
        again = over | np.array([False, t == 4])
        if again.any():
            envs.reset(options={"reset_mask": again})
            lengths, returns = np.where(again, 0, lengths), np.where(again, 0.0, returns)


@every_family
def test_a_loop_that_resets_in_the_same_step_keeps_the_last_observation(name: str) -> None:
    envs, plain = singles(name, 2, AutoresetMode.SAME_STEP), FamilyVectorEnv(2, SHORT[name])
    still = np.zeros_like(envs.action_space.sample())
    same(envs.reset(seed=0)[0], plain.reset(seed=0)[0])
    for _ in range(LENGTHS[name]):
        obs, reward, terminated, truncated, infos = envs.step(still)
        last, *expected, said = plain.step(still)
        same([reward, terminated, truncated], expected)
    begun, told = plain.reset()
    same(obs, begun)
    same(np.stack(infos["final_obs"]), last)
    final = infos["final_info"]
    for key in ("trial", "trial_episode"):
        assert infos[key].tolist() == told[key].tolist()
        assert final[key].tolist() == said[key].tolist()


@every_family
def test_a_loop_that_resets_in_the_next_step_plays_the_same_episodes(name: str) -> None:
    envs, plain = (
        vector.RecordEpisodeStatistics(singles(name, 2, AutoresetMode.NEXT_STEP)),
        FamilyVectorEnv(2, SHORT[name]),
    )
    still = np.zeros_like(envs.action_space.sample())
    envs.reset(seed=0)
    plain.reset(seed=0)
    for episode in range(3):
        total = 0.0
        for _ in range(LENGTHS[name]):
            *_, infos = envs.step(still)
            total = total + plain.step(still)[1]
        assert infos["episode"]["l"].tolist() == [LENGTHS[name]] * 2
        assert infos["episode"]["r"] == pytest.approx(total)
        assert infos["trial_episode"].tolist() == [episode if name == "bandit" else episode % 2] * 2
        same(envs.step(still)[0], plain.reset()[0])


@pytest.mark.slow
@every_kind
def test_processes_play_what_the_batch_plays(name: str) -> None:
    ours = FamilyVectorEnv(2, SHORT[name])
    make = partial(
        gymnasium.make, f"bridge.tasks.to_gymnasium:metabridge/{name}-v0", spec=SHORT[name]
    )
    theirs = AsyncVectorEnv([make] * 2, context="spawn", autoreset_mode=AutoresetMode.DISABLED)
    try:
        ours.action_space.seed(0)
        same(ours.reset(seed=0), theirs.reset(seed=0))
        for _ in range(22):
            actions = ours.action_space.sample()
            found = ours.step(actions)
            same(found, theirs.step(actions))
            if (over := found[2] | found[3]).any():
                same(*(envs.reset(options={"reset_mask": over.copy()}) for envs in (ours, theirs)))
    finally:
        theirs.close()


def test_the_batch_is_refused_where_a_wrapper_asks_for_autoreset() -> None:
    """By Gymnasium's own word; NormalizeObservation is for rows that reset themselves."""
    with pytest.raises(ValueError, match="NEXT_STEP"):
        vector.NormalizeObservation(FamilyVectorEnv(2, "gridnavi"))
