"""Other people's learners train on every family, and count the episodes that were played.

They are imported where they are used: what is slow to import is not for whoever runs the fast tests.
"""

import importlib
from typing import Any

import gymnasium
import pytest

from bridge.tasks import FAMILIES
from bridge.tasks.base import Box, Discrete

pytestmark = pytest.mark.slow

STEPS = 300
LEARNERS: dict[str, tuple[str, str, tuple[type, ...], dict[str, Any]]] = {
    "PPO": ("stable_baselines3", "MlpPolicy", (Discrete, Box), {"n_steps": 100, "batch_size": 50}),
    "DQN": ("stable_baselines3", "MlpPolicy", (Discrete,), {"learning_starts": 50}),
    "SAC": ("stable_baselines3", "MlpPolicy", (Box,), {"learning_starts": 50}),
    "RecurrentPPO": (
        "sb3_contrib",
        "MlpLstmPolicy",
        (Discrete, Box),
        {"n_steps": 100, "batch_size": 50},
    ),
}
"""Each learner's package, policy, the actions that it is for, and settings for so few steps."""
PAIRS = [
    (name, learner)
    for name, cls in FAMILIES.items()
    for learner in LEARNERS
    if isinstance(cls().action, LEARNERS[learner][2])
]


class Diary(gymnasium.Wrapper):
    """Keeps the rewards of every episode, the last of which may be unfinished."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.episodes: list[list[float]] = []

    def reset(self, **kwargs: Any) -> Any:
        self.episodes.append([])
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        outcome = self.env.step(action)
        self.episodes[-1].append(float(outcome[1]))
        return outcome


def make(name: str) -> gymnasium.Env:
    short = {"spec": "metaworld:steps=20"} if name == "metaworld" else {}  # else none ends in time
    return gymnasium.make(f"bridge.tasks.to_gymnasium:metabridge/{name}-v0", **short)


@pytest.mark.parametrize(("name", "learner"), PAIRS)
def test_a_learner_trains_and_its_monitor_counts_what_was_played(name: str, learner: str) -> None:
    package, policy, _, settings = LEARNERS[learner]
    env = Diary(make(name))
    model = getattr(importlib.import_module(package), learner)(
        policy, env, seed=0, device="cpu", **settings
    )
    model.learn(STEPS)
    assert model.num_timesteps == sum(map(len, env.episodes)) == STEPS
    finished = env.episodes[:-1]  # the one that is running, or has just been begun
    counted = list(model.ep_info_buffer)
    assert len(counted) == min(len(finished), 100) > 0
    for told, rewards in zip(reversed(counted), reversed(finished), strict=False):
        assert told["l"] == len(rewards)
        assert told["r"] == pytest.approx(sum(rewards), abs=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_checker_of_stable_baselines3_finds_no_fault(name: str) -> None:
    """It would have actions of point_nav between -1 and 1, too: that is advice, which ``warn`` leaves out."""
    from stable_baselines3.common.env_checker import check_env

    check_env(make(name).unwrapped, warn=False)


def test_several_environments_are_made_by_name() -> None:
    """stable-baselines3 asks for pictures first, of which Gymnasium warns, and then for none."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    with pytest.warns(UserWarning, match="not in the possible render_modes"):
        envs = make_vec_env("bridge.tasks.to_gymnasium:metabridge/gridnavi-v0", n_envs=2, seed=0)
    model = PPO(
        "MlpPolicy", VecNormalize(envs), n_steps=50, batch_size=50, seed=0, device="cpu"
    ).learn(STEPS)
    assert [told["l"] for told in model.ep_info_buffer or ()] == [15] * 20
