#!/usr/bin/env bash
# gymnasium 1.4.0: tasks that are made by setting an attribute of a classic-control environment, as studies of varied
# physics do.
#
# Expected: another LINK_LENGTH_2 is another Acrobot, and another length another CartPole.
# Seen: Acrobot's second link has the same transitions and the same end at any length, since the equations and the height of
# the goal do not read LINK_LENGTH_2; the height of the goal does not read LINK_LENGTH_1 either. CartPole computes
# polemass_length once, in its constructor: a length that is set later moves the pole by another law than a CartPole of that
# length, for which polemass_length has to be set, too (at a length of 1 they differ by 0.006 after the first step).
#
# For users: play the two ends of a range with the same seed and actions before training on it, and set polemass_length
# with length.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q gymnasium==1.4.0
cat > "$dir/run.py" <<'PY'
import gymnasium
import numpy as np


def played(name: str, steps: int, **attributes: float) -> tuple[np.ndarray, list[bool]]:
    """Observations and ends of an episode with these attributes, under one seed and one sequence of actions."""
    env = gymnasium.make(name).unwrapped
    for key, value in attributes.items():
        getattr(env, key)
        setattr(env, key, value)
    obs, _ = env.reset(seed=0)
    seen, ends = [obs], []
    for t in range(steps):
        obs, _, terminated, _, _ = env.step(t // 7 % 2 * (2 if name.startswith("Acrobot") else 1))
        seen.append(obs)
        ends.append(bool(terminated))
    return np.stack(seen), ends


if __name__ == "__main__":
    plain, ends = played("Acrobot-v1", 200)
    for length in (0.5, 3.0):
        longer, other_ends = played("Acrobot-v1", 200, LINK_LENGTH_2=length)
        print(f"Acrobot, LINK_LENGTH_2={length}: largest difference {np.abs(longer - plain).max()}")
        assert (longer == plain).all()
        assert other_ends == ends
    heavier, _ = played("Acrobot-v1", 200, LINK_MASS_2=1.5)
    assert not (heavier == plain).all()
    env = gymnasium.make("CartPole-v1").unwrapped
    env.length = 1.0
    print(f"CartPole, length=1.0: polemass_length {env.polemass_length}, masspole * length {env.masspole * env.length}")
    assert env.polemass_length == 0.05
    alone, _ = played("CartPole-v1", 8, length=1.0)
    both, _ = played("CartPole-v1", 8, length=1.0, polemass_length=0.1)
    differ = np.abs(alone - both).max(1)
    print(f"CartPole, largest difference by step: {differ.round(5).tolist()}")
    assert differ[1] > 1e-3
    assert differ[-1] > 1e-3
PY
"$dir/venv/bin/python" "$dir/run.py"
echo "gymnasium 1.4.0 behaves as described."
