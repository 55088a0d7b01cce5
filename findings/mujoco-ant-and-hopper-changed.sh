#!/usr/bin/env bash
# mujoco 3.4.0 and 3.5.0, gymnasium 1.4.0: Gymnasium's v5 environments under two minor versions of their simulator.
#
# Expected: "-v5" names one system; a minor version of MuJoCo changes the last digits.
# Seen: with 3.5.0, Ant-v5 is 0.01 away after five steps of the same actions, and Hopper-v5 5e-4 after ten, while
# HalfCheetah-v5 and Walker2d-v5 are where they were to rounding. gymnasium 1.4.0 accepts both and warns of neither, so a
# curve of Ant-v5 does not say which ant ran.
#
# For users: keep the version of mujoco with every number; curves of before 2026 are of the ant of 3.4.0 and older.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/run.py" <<'PY'
import sys

import gymnasium
import numpy as np

NAMES = ("HalfCheetah-v5", "Walker2d-v5", "Ant-v5", "Hopper-v5")


def positions(name: str) -> np.ndarray:
    """Positions after each of ten steps from one seed, with one sequence of actions."""
    env = gymnasium.make(name).unwrapped
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(10):
        env.step(rng.uniform(-1, 1, env.action_space.shape))
        seen.append(env.data.qpos.copy())
    return np.stack(seen)


np.savez(sys.argv[1], **{name: positions(name) for name in NAMES})
PY
for version in 3.4.0 3.5.0; do
  python3 -m venv "$dir/$version"
  "$dir/$version/bin/python" -m pip install -q "mujoco==$version" gymnasium==1.4.0 imageio==2.38.2 packaging
  "$dir/$version/bin/python" "$dir/run.py" "$dir/$version.npz"
done
cat > "$dir/compare.py" <<'PY'
import sys

import numpy as np

old, new = (np.load(file) for file in sys.argv[1:])
for name in old.files:
    apart = np.abs(new[name] - old[name]).max(1)
    print(f"{name}: apart by {apart[0]:.1e}, {apart[4]:.1e} and {apart[9]:.1e} after 1, 5 and 10 steps")
    if name in ("HalfCheetah-v5", "Walker2d-v5"):
        assert apart[9] < 1e-10, name
assert np.abs(new["Ant-v5"] - old["Ant-v5"])[4].max() > 1e-3
assert np.abs(new["Hopper-v5"] - old["Hopper-v5"])[9].max() > 1e-5
PY
"$dir/3.5.0/bin/python" "$dir/compare.py" "$dir/3.4.0.npz" "$dir/3.5.0.npz"
echo "mujoco 3.4.0 and 3.5.0 behave as described."
