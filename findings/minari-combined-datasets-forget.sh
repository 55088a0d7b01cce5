#!/usr/bin/env bash
# minari 0.5.4: two datasets of one task each, whose episodes have a seed and the number of their task.
#
# Expected: combine_datasets joins the episodes with all that is known of each.
# Seen: steps are joined; the seed and all further metadata of an episode are gone (only id and total_steps are left), so
# that nothing tells the tasks of a combined dataset apart. A name without version, which the documentation allows, raises
# TypeError and leaves a folder; from then on list_local_datasets raises, too, for all datasets. (The extra hdf5 imports
# PIL, which it does not install.)
#
# For users: write the number of the task into infos before combining, or keep a dataset a task; always name a version.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q 'minari[hdf5]==0.5.4' gymnasium==1.4.0 pillow==13.0.0
cat > "$dir/run.py" <<'PY'
import warnings

import minari
import numpy as np
from gymnasium.spaces import Box, Discrete
from minari.data_collector.episode_buffer import EpisodeBuffer

warnings.simplefilter("ignore")
SPACES = {"observation_space": Box(-1, 1, (2,), np.float32), "action_space": Discrete(2)}


def made(name: str, task: int) -> minari.MinariDataset:
    """A dataset of one episode of two steps, with seed 3 and the number of its task."""
    episode = EpisodeBuffer(
        seed=3,
        observations=[np.zeros(2, np.float32)] * 3,
        actions=[0, 1],
        rewards=[0.0, 1.0],
        terminations=[False, True],
        truncations=[False, False],
        infos={},
    )
    dataset = minari.create_dataset_from_buffers(name, [episode], **SPACES)
    dataset.storage.update_episode_metadata([{"task": task}])
    return dataset


def about(dataset: minari.MinariDataset) -> list[dict]:
    return [dict(each) for each in dataset.storage.get_episode_metadata(dataset.episode_indices)]


parts = [made(f"part{task}-v0", task) for task in range(2)]
joined = minari.combine_datasets(parts, "joined-v0")
print("parts:", [sorted(each) for part in parts for each in about(part)])
print("joined:", [sorted(each) for each in about(joined)])
assert all(each["task"] == task and each["seed"] == 3 for task, part in enumerate(parts) for each in about(part))
assert joined.total_episodes == 2
assert not any({"task", "seed"} & set(each) for each in about(joined))
try:
    made("nameless", 0)
except TypeError as error:
    print("a name without version:", error)
else:
    raise AssertionError("it was accepted")
try:
    minari.list_local_datasets()
except TypeError as error:
    print("all datasets, from then on:", error)
else:
    raise AssertionError("it was listed")
PY
MINARI_DATASETS_PATH="$dir/datasets" "$dir/venv/bin/python" "$dir/run.py"
echo "minari 0.5.4 behaves as described."
