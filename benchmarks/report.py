"""Time and memory of a report of a million rows.

    python benchmarks/report.py [--rows 1000000] [--against CHECKOUT]

Rows are made on the spot, by seed: four families, all of their splits, eight references and four learned methods with
three seeds each, a file for each of these. Prints, on one core, CPU seconds, wall seconds and the peak of memory of
reading them (in a process of its own, whose imports are told apart) and of the whole report with its intervals, tables
and figures; then the ratio to a naive reading (all rows in one table, which is filtered anew for each method and split)
and, if asked, to another checkout on the same rows. Last comes a profile of where the time of a report goes.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import json
import os
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 3
FAMILIES = ("bandit:k=5,n=10", "bandit:k=5,n=100", "tabular_mdp", "sparse_point")
REFERENCES = ("random", "oracle", "bayes", "bayes_train", "thompson", "ucb1", "greedy", "psrl")
LEARNED = ("rl2", "maml", "pearl", "mtrl_finetune")
TRIALS = 2_048


def make(folder: Path, rows: int) -> int:
    """Write row files until there are so many rows; returns how many."""
    import numpy as np

    from bridge import parquet
    from bridge.evaluation import result_rows, results
    from bridge.evaluation.assignment import Assignment
    from bridge.evaluation.plan import Plan
    from bridge.evaluation.sums import Evaluation
    from bridge.protocol import Card
    from bridge.tasks import family as make_family

    random, made = np.random.default_rng(0), 0
    results.open_folder(folder)
    for family in map(make_family, FAMILIES):
        for split in ("id", *(name for name in family.splits if name.startswith("shift"))):
            plan, trial = Plan(split=split, trials=TRIALS), family.trial(split)
            points = family.curve_points(trial)
            assignment = Assignment.of(family, plan)
            shape = (assignment.blocks, assignment.parts, len(points))
            for place, method in enumerate((*REFERENCES, *LEARNED)):
                reference = method in REFERENCES
                card = Card(
                    method=method,
                    reference=reference,
                    exact_reference="exact" if reference else "",
                    supervision="none" if reference else "reward",
                )
                for seed in range(1 if reference else 3):
                    evaluation = Evaluation.empty(plan, trial, points, *shape[:2])
                    n = TRIALS / shape[0] / shape[1]
                    for metric in ("episode_return", "trial_return", "regret"):
                        mean = place % 8 + random.normal(size=shape)
                        sums = evaluation.total[metric]
                        sums[:] = np.full(shape, n), n * mean, n * (mean**2 + 1)
                    table = result_rows.table(evaluation, family, card, seed=seed)
                    parquet.write(results.cell_path(folder, table), table)
                    made += len(table)
                    if made >= rows:
                        return made
    return made


def read(folder: Path) -> None:
    """Read what a report needs: the sums of every method on every split."""
    from bridge.report.summary import Results

    found = Results(folder)
    for key in found.about:
        found.sums(key, "episode_return")


def naive(folder: Path) -> None:
    """The same, filtered out of one table of all rows for each method and split."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    from bridge.evaluation.sums import METRICS

    tables = [parquet.read_table(path) for path in (folder / "rows").iterdir()]
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    codes = np.stack(
        [table[name].chunk(0).indices.to_numpy() for name in ("family", "split", "method")]
    )
    wanted = ["seed", "task_id", "part", "curve_point", "k_episodes", "k_transitions"]
    wanted += [f"{metric}_{part}" for metric in METRICS for part in ("n", "sum", "sum_sq")]
    numbers = table.select(wanted)
    for key in np.unique(codes, axis=1).T:
        found = numbers.filter(pa.array((codes == key[:, None]).all(0)))
        array = np.array([column.to_pylist() for column in found.columns], float)
        for values in array[:6]:
            np.unique(values, return_inverse=True)


def whole(folder: Path) -> None:
    """The command ``metabridge report``."""
    from experiments.commands.report import report

    with contextlib.redirect_stdout(io.StringIO()):
        report(folder)


WHAT = {"read": read, "naive": naive, "report": whole}


def child(what: str, folder: Path) -> None:
    """One measurement, printed as JSON."""
    import experiments.cli  # noqa: F401 (what every command imports)

    try:
        from bridge.evaluation import results
    except ImportError:  # the checkout of before
        from bridge import results  # ty: ignore[missing-module-member]

    results.SUITE_VERSION = json.loads((folder / "suite.json").read_text())[
        "suite_version"
    ]  # another checkout's, too
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    bare, cpu, wall = peak(), time.process_time(), time.perf_counter()
    WHAT[what](folder)
    print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall, peak(), bare]))


def peak() -> float:
    """Of this process's memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(what: str, folder: Path, checkout: Path) -> list[float]:
    """Medians over some processes: CPU seconds, wall seconds, peak of memory, that of imports alone."""
    settings = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--child", what, "--folder", str(folder)]
    runs = [
        json.loads(
            subprocess.run(command, env=settings, check=True, capture_output=True, text=True).stdout
        )
        for _ in range(REPEATS)
    ]
    return [statistics.median(values) for values in zip(*runs, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--against", type=Path, help="another checkout of this repository")
    parser.add_argument("--child", choices=WHAT, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child, asked.folder)
        return
    here = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = make(folder, asked.rows)
        count = len(list((folder / "rows").iterdir()))
        print(f"{rows:,} rows in {count:,} files, one core, median of {REPEATS} processes")
        ours = {what: line(what, measure(what, folder, here)) for what in ("read", "report")}
        others = {"naive reading": ("read", line("naive", measure("naive", folder, here)))}
        if asked.against:
            for what in ("read", "report"):
                others[f"{what} of {asked.against}"] = (
                    what,
                    line(what, measure(what, folder, asked.against.resolve())),
                )
        for name, (what, (cpu, _, memory, bare)) in others.items():
            mine = ours[what]
            print(
                f"{what} / {name}: {mine[0] / cpu:.2f} of its CPU time, {mine[2] / memory:.2f} of its memory, "
                f"{(mine[2] - mine[3]) / (memory - bare):.2f} without imports"
            )
        profile = cProfile.Profile()
        profile.runcall(whole, folder)
        print("\nWhere the time of a report goes, by own time:")
        pstats.Stats(profile).sort_stats("tottime").print_stats(12)


def line(what: str, found: list[float]) -> list[float]:
    cpu, wall, memory, bare = found
    print(
        f"{what:7s} {cpu:6.2f} CPU s, {wall:6.2f} s, {memory:5,.0f} MB at most, {bare:.0f} MB of them imports",
        flush=True,
    )
    return found


if __name__ == "__main__":
    main()
