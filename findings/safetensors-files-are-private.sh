#!/usr/bin/env bash
# safetensors 0.8.0: save_file, under a umask by which others may read new files.
#
# Expected: the mode of a new file follows the umask: 0644 under 022, 0664 under 002, as of any file that Python opens.
# Seen: 0600, whatever the umask. In a folder that a group shares, nobody else can read the weights, though all the files
# beside them (config.json and the like) can be read; a reader that takes any error for damage calls them damaged.
#
# For users: set the mode after saving, by the umask, if weights are to be shared.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q safetensors==0.8.0 numpy==2.4.6
cat > "$dir/run.py" <<'PY'
import os
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

if __name__ == "__main__":
    for umask, usual in ((0o022, 0o644), (0o002, 0o664)):
        os.umask(umask)
        weights, beside = (Path(sys.argv[1]) / f"{umask}.{end}" for end in ("safetensors", "json"))
        save_file({"x": np.zeros(3, np.float32)}, weights)
        beside.write_text("{}")
        modes = [path.stat().st_mode & 0o777 for path in (weights, beside)]
        print(f"umask {umask:03o}: weights {modes[0]:04o}, a text file beside them {modes[1]:04o}")
        assert modes == [0o600, usual]
PY
"$dir/venv/bin/python" "$dir/run.py" "$dir"
echo "safetensors 0.8.0 behaves as described."
