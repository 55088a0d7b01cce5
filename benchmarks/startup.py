"""CPU and wall time that the command takes to start.

    python benchmarks/startup.py [CHECKOUT]

Prints, for ``metabridge list`` and ``metabridge evaluate random`` on ten pulls of five arms, the CPU time (user and
system, of all its processes) and the wall time; beside them those of ``python -c "import torch"``, below which nothing
that plays can fall. With CHECKOUT, the folder of another version of this repository, the commands of both take turns in
one run, and the ratio of their CPU times is printed. Each figure is the least of some runs after one to warm up.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

REPEATS = 5
HERE = Path(__file__).resolve().parent.parent
COMMANDS = {
    "list": ["-m", "experiments.cli", "list"],
    "evaluate random": [
        "-m",
        "experiments.cli",
        "evaluate",
        "random",
        "--family",
        "bandit:k=5,n=10",
        "--trials",
        "20",
    ],
    "import torch": ["-c", "import torch"],
}


class Times(NamedTuple):
    """Seconds of one run, or the least of several."""

    cpu: float
    wall: float


def measure(words: list[str], checkout: Path) -> Times:
    """One run of Python with the packages of a checkout."""
    environment = os.environ | {
        "PYTHONPATH": str(checkout),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *words],
        env=environment,
        cwd=checkout,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    return Times(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, ended - began)


def least(words: list[str], checkouts: list[Path]) -> list[Times]:
    """The least of some runs of each checkout, which take turns."""
    runs = [[measure(words, checkout) for checkout in checkouts] for _ in range(1 + REPEATS)][1:]
    return [
        Times(*(min(kind) for kind in zip(*own, strict=True))) for own in zip(*runs, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", nargs="?", type=Path, help="another version to compare with")
    other = parser.parse_args().checkout
    for name, words in COMMANDS.items():
        ours, *theirs = least(
            words, [HERE, other.resolve()] if other and name != "import torch" else [HERE]
        )
        line = f"{name:<16} {ours.cpu:5.2f} s of CPU, {ours.wall:5.2f} s"
        for found in theirs:
            line += f"; there {found.cpu:5.2f} s of CPU, {found.wall:5.2f} s; ratio of CPU {ours.cpu / found.cpu:.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
