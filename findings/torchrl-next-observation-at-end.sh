#!/usr/bin/env bash
# torchrl 0.14.1 with gymnasium 1.4.0: GymEnv(NAME, num_envs=2), beside GymEnv(NAME) and a vector environment of one's own.
#
# Expected: ("next", "observation") at a step that truncates an episode is the last observation of that episode, 13 here; the
# value of that observation is what a truncated return is completed with.
# Seen: 13 from a single environment and from GymWrapper around a vector environment with AutoresetMode.DISABLED, but 0 from
# GymEnv with num_envs=2, whose own check_env_specs finds no fault. Rewards and ends are right.
#
# For users: wrap a vector environment whose autoreset is disabled (GymWrapper(gymnasium.make_vec(...)) of one that resets
# nothing by itself), and do not give num_envs.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q torchrl==0.14.1 tensordict==0.14.3 gymnasium==1.4.0 numpy==2.4.6 torch==2.13.0
cat > "$dir/run.py" <<'PY'
import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torchrl.envs import GymEnv, GymWrapper, check_env_specs


class Counter(gymnasium.Env):
    """Observes 10, 11, 12 and 13, and is truncated there."""

    observation_space = gymnasium.spaces.Box(0, 100, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 10
        return np.array([10], np.float32), {}

    def step(self, action):
        self.count += 1
        return np.array([self.count], np.float32), 1.0, False, self.count == 13, {}


gymnasium.register("Counter-v0", entry_point=Counter)

if __name__ == "__main__":
    disabled = SyncVectorEnv([Counter, Counter], autoreset_mode=AutoresetMode.DISABLED)
    environments = {
        "GymEnv": GymEnv("Counter-v0"),
        "GymWrapper, autoreset disabled": GymWrapper(disabled),
        "GymEnv, num_envs=2": GymEnv("Counter-v0", num_envs=2),
    }
    expected = {"GymEnv": 13, "GymWrapper, autoreset disabled": 13, "GymEnv, num_envs=2": 0}
    for name, env in environments.items():
        check_env_specs(env)
        played = env.rollout(6, break_when_any_done=False).reshape(-1, 6)[0]
        following = played["next", "observation"][:, 0].tolist()
        ends = played["next", "truncated"][:, 0].tolist()
        print(f"{name}: next observations {following}, truncated {ends}")
        assert ends == [False, False, True] * 2
        assert following == [11, 12, expected[name]] * 2
        env.close()
PY
"$dir/venv/bin/python" -W ignore "$dir/run.py" 2> "$dir/log" || { cat "$dir/log" >&2; exit 1; }
echo "torchrl 0.14.1 behaves as described."
