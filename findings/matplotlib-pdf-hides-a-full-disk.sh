#!/usr/bin/env bash
# matplotlib 3.11.2: savefig of a figure as PDF, while files may have no more than a few kilobytes.
#
# Expected: OSError from savefig, as for PNG and SVG: a caller who stores figures says "the disk is full" and goes on.
# Seen: AttributeError, "'Stream' object has no attribute 'pos'": the writer, on its way out of the OSError, ends a
# stream that has not begun. A handler of OSError does not catch it.
#
# For users: save PDF into io.BytesIO, then write its bytes to the file.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install -q matplotlib==3.11.2 numpy==2.4.6
cat > "$dir/run.py" <<'PY'
import resource
import sys

import matplotlib
from matplotlib.figure import Figure

if __name__ == "__main__":
    matplotlib.use("Agg")
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    seen = {}
    for kind in ("png", "svg", "pdf"):
        figure = Figure()
        figure.subplots().plot(range(50))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, usual[1]))
        try:
            figure.savefig(f"{sys.argv[1]}/figure.{kind}")
        except Exception as error:  # noqa: BLE001 - its type is the finding
            seen[kind] = type(error)
            print(f"{kind}: {type(error).__name__}: {error}")
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert seen == {"png": OSError, "svg": OSError, "pdf": AttributeError}
PY
"$dir/venv/bin/python" "$dir/run.py" "$dir"
echo "matplotlib 3.11.2 behaves as described."
