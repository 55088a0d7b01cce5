#!/usr/bin/env bash
# datasets 5.2.0: a folder of Parquet shards that grows, as collections of histories do.
#
# Expected: load_dataset(FOLDER) returns the rows that the folder has now.
# Seen: it does if the folder has no card, or one without configs. If the README's metadata name the files (configs with
# data_files: shard-*.parquet), the second call returns the rows of the first one from its cache, without the shard that
# was added in between and without a warning. Streaming returns all rows.
#
# For users: leave configs out of the card of a folder that still grows, or load it with data_files= or streaming=True.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q datasets==5.2.0
cat > "$dir/run.py" <<'PY'
import os
import pathlib
import sys

place = pathlib.Path(sys.argv[1])
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(place / "cache")}

import datasets
import pyarrow as pa
from pyarrow import parquet

datasets.disable_progress_bars()
NAMED = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: shard-*.parquet\n---\n"


def rows(folder: pathlib.Path, card: str) -> tuple[list[int], int]:
    """Rows that a folder has by load_dataset after one and after two shards of four rows; then those by streaming."""
    folder.mkdir()
    if card:
        (folder / "README.md").write_text(card)
    found = []
    for shard in range(2):
        parquet.write_table(pa.table({"x": [shard] * 4}), folder / f"shard-{shard}.parquet")
        found.append(len(datasets.load_dataset(str(folder), split="train")))
    streamed = datasets.load_dataset(str(folder), split="train", streaming=True)
    return found, len(list(streamed))


plain, named = rows(place / "plain", ""), rows(place / "named", NAMED)
print(f"rows without a card: {plain}; with named files: {named}")
assert plain == ([4, 8], 8)
assert named == ([4, 4], 8)
PY
"$dir/venv/bin/python" "$dir/run.py" "$dir"
echo "datasets 5.2.0 behaves as described."
