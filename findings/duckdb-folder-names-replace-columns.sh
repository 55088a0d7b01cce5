#!/usr/bin/env bash
# duckdb 2.0.0: read_parquet of a list of files, whose folder has a name such as method=other.
#
# Expected: a file that is named in full is read as it is; its column "method" says what the file says.
# Seen: the folder's name is taken for a partition, although no folder was searched, and replaces the column of that name that
# is in the file: every row says "other". A folder named total=0 makes sums zero. hive_partitioning=false reads the file.
#
# For users: give hive_partitioning=false wherever the path is not yours to choose, such as a user's results folder.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q duckdb==2.0.0 pyarrow==26.0.1
cat > "$dir/run.py" <<'PY'
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
from pyarrow import parquet

if __name__ == "__main__":
    table = pa.table({"method": ["ucb1", "ucb1"], "total": [3.0, 4.0]})
    found = {}
    for folder in ("plain", "method=other", "total=0"):
        place = Path(sys.argv[1]) / folder
        place.mkdir()
        parquet.write_table(table, place / "rows.parquet")
        for setting in ("", ", hive_partitioning = false"):
            query = f"SELECT any_value(method), sum(total)::DOUBLE FROM read_parquet($1{setting})"
            found[folder, setting] = duckdb.execute(query, [[str(place / "rows.parquet")]]).fetchall()[0]
            print(f"{folder}{setting}: {found[folder, setting]}")
    assert found.pop(("method=other", "")) == ("other", 7.0)
    assert found.pop(("total=0", "")) == ("ucb1", 0.0)
    assert set(found.values()) == {("ucb1", 7.0)}
PY
"$dir/venv/bin/python" "$dir/run.py" "$dir"
echo "duckdb 2.0.0 behaves as described."
