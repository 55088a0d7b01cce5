#!/usr/bin/env bash
# metaworld 3.1.1 (gymnasium 1.4.0, mujoco 3.3.0): two resets of one environment with the same seed, and the space of
# what they return.
#
# Expected: as Gymnasium has it, reset(seed=1) begins the same episode every time, with an observation in the
# environment's observation space.
# Seen: the second reset has another goal and another place of the object, those that the generator of the environment
# draws next. Only environments that have been reset as often agree. The goal, entries 36 to 38, lies outside the space,
# whose bounds are 0 and 0 there.
#
# For users: an episode cannot be begun again by its seed. Set a task of your own (set_task) before each reset, and do
# not scale or clip observations by the space.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q metaworld==3.1.1 gymnasium==1.4.0 mujoco==3.3.0 numpy==2.4.6 packaging==26.3
cat > "$dir/run.py" <<'PY'
import gymnasium
import metaworld  # noqa: F401 (it registers the environments)
import numpy as np

if __name__ == "__main__":
    env, other = (
        gymnasium.make("Meta-World/MT1", env_name="reach-v3", seed=0, disable_env_checker=True)
        for _ in range(2)
    )
    first, second = (env.reset(seed=1)[0] for _ in range(2))
    again = other.reset(seed=1)[0]
    differ = np.flatnonzero(first != second).tolist()
    print(f"entries that differ between two resets with one seed: {differ}; between two environments: "
          f"{np.flatnonzero(first != again).tolist()}")
    space = env.observation_space
    outside = np.flatnonzero((first < space.low) | (first > space.high)).tolist()
    print(f"entries outside the space: {outside}, bounds {space.low[outside]} and {space.high[outside]}")
    assert set(differ) & {36, 37, 38}
    assert (first == again).all()
    assert outside == [36, 37, 38]
    assert (space.low[outside] == 0).all()
    assert (space.high[outside] == 0).all()
PY
"$dir/venv/bin/python" -W ignore "$dir/run.py"
echo "metaworld 3.1.1 behaves as described."
