#!/usr/bin/env bash
# skrl 2.1.1 with gymnasium 1.4.0: PPO on SyncVectorEnv in its default mode (AutoresetMode.NEXT_STEP).
#
# Expected: PPO's memory holds steps that were played. In an environment of one step that always pays 1, it holds ones.
# Seen: the step on which Gymnasium resets a row, whose action is ignored and whose reward is 0, is remembered as played, and
# as not ending an episode: 1, 0, 1, 0. On a bandit of one pull an episode, half of what is learned from never happened.
# A single environment, and AutoresetMode.SAME_STEP, give ones.
#
# For users: on environments with short episodes, vectorise with autoreset_mode=AutoresetMode.SAME_STEP.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q skrl==2.1.1 gymnasium==1.4.0 numpy==2.4.6 torch==2.13.0
cat > "$dir/run.py" <<'PY'
import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.trainers.torch import SequentialTrainer
from skrl.utils.model_instantiators.torch import categorical_model, deterministic_model


class PaysOne(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), 1.0, True, False, {}


def remembered(env):
    """The rewards and ends that PPO has in its memory of the first row after eight steps."""
    env = wrap_env(env)
    spaces = {"observation_space": env.observation_space, "state_space": None, "action_space": env.action_space}
    network = [{"name": "net", "input": "OBSERVATIONS", "layers": [8], "activations": "relu"}]
    models = {
        "policy": categorical_model(**spaces, device="cpu", network=network, output="ACTIONS"),
        "value": deterministic_model(**spaces, device="cpu", network=network, output="ONE"),
    }
    memory = RandomMemory(memory_size=8, num_envs=env.num_envs, device="cpu")
    settings = PPO_CFG(rollouts=8)
    settings.experiment.write_interval = settings.experiment.checkpoint_interval = 0
    agent = PPO(models=models, memory=memory, cfg=settings, **spaces, device="cpu")
    quiet = {"timesteps": 8, "headless": True, "disable_progressbar": True, "close_environment_at_exit": False}
    SequentialTrainer(env=env, agents=agent, cfg=quiet).train()
    rewards, ends = (memory.get_tensor_by_name(name)[:, 0, 0].tolist() for name in ("rewards", "terminated"))
    return rewards, ends


if __name__ == "__main__":
    played = ([1.0] * 8, [True] * 8)
    with_resets = ([1.0, 0.0] * 4, [True, False] * 4)
    for name, env, expected in (
        ("one environment", PaysOne(), played),
        ("SAME_STEP", SyncVectorEnv([PaysOne] * 2, autoreset_mode=AutoresetMode.SAME_STEP), played),
        ("NEXT_STEP, the default", SyncVectorEnv([PaysOne] * 2), with_resets),
    ):
        found = remembered(env)
        print(f"{name}: rewards {found[0]}")
        assert found == expected, found
PY
"$dir/venv/bin/python" -W ignore "$dir/run.py" > "$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
grep rewards "$dir/log"
echo "skrl 2.1.1 behaves as described."
