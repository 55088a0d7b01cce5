#!/usr/bin/env bash
# gymnasium 1.4.0: RecordEpisodeStatistics over SyncVectorEnv or AsyncVectorEnv, with AutoresetMode.DISABLED.
#
# Expected: reset(options={"reset_mask": mask}) begins the rows of the mask anew, and the statistics of the other rows go on.
# Seen: the vector environment takes "reset_mask" out of the caller's own dictionary, so that the wrapper around it no longer
# finds one and begins the statistics of all rows anew. An episode of 7 steps is recorded as one of 1 step that earned 1.
# A second call with the same dictionary resets every row.
#
# For users: pass a fresh dictionary at each reset, and count returns of partial resets outside the wrapper. (Environments
# that leave the dictionary alone, as metabridge's own vector environments do, are counted rightly.)
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q gymnasium==1.4.0 numpy==2.4.6
cat > "$dir/run.py" <<'PY'
import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from gymnasium.wrappers.vector import RecordEpisodeStatistics


def three():
    return TimeLimit(gymnasium.make("CartPole-v1"), 3)


def seven():
    return TimeLimit(gymnasium.make("CartPole-v1"), 7)


def played(vectorised):
    """For each step at which a row ended: which rows ended, and the lengths and returns that were recorded."""
    envs = RecordEpisodeStatistics(vectorised([three, seven], autoreset_mode=AutoresetMode.DISABLED))
    envs.reset(seed=0)
    seen = []
    for t in range(7):
        _, _, terminated, truncated, infos = envs.step(np.array([t % 2, t % 2]))
        over = terminated | truncated
        if over.any():
            seen.append((t + 1, over.tolist(), infos["episode"]["l"].tolist(), infos["episode"]["r"].tolist()))
            options = {"reset_mask": over}
            envs.reset(options=options)
            assert options == {}, options  # the caller's dictionary is emptied
    envs.close()
    return seen


if __name__ == "__main__":
    for vectorised in (SyncVectorEnv, AsyncVectorEnv):
        seen = played(vectorised)
        print(vectorised.__name__, *seen, sep="\n  ")
        assert seen == [
            (3, [True, False], [3, 0], [3.0, 0.0]),
            (6, [True, False], [3, 0], [3.0, 0.0]),
            (7, [False, True], [0, 1], [0.0, 1.0]),  # expected: [0, 7], [0.0, 7.0]
        ]
PY
"$dir/venv/bin/python" "$dir/run.py"
echo "gymnasium 1.4.0 behaves as described."
