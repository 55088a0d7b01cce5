"""Do the references have their exact values, and how do published numbers stand beside them?

    python -m experiments.studies.reference_values            (about 15 minutes on two cores; --quick: two)

Prints a Markdown table: our mean and standard error, the exact value where there is one with the difference in
standard errors, and the published number. Exact values are dynamic programmes, closed forms or integrals that were
computed apart from this code; published numbers are means of 1,000 trials (Duan et al. 2016, tables 1 and 2), so that
their standard error at (k=5, n=100) is 0.5, with constants chosen on the very trials that are reported.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path
from typing import NamedTuple

import torch

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from experiments import agents

FILE = Path(__file__).with_name("reference_values.csv")


class Row(NamedTuple):
    """One number to compare: a line of ``reference_values.csv``."""

    family: str
    method: str
    split: str
    """A split, or several joined by ``+``."""
    metric: str
    point: int
    """Curve point; -1: the last one."""
    exact: float | None
    """Computed apart from this code; exact unless ``error`` is given."""
    error: float
    """Standard error of ``exact``, where that is itself a simulation."""
    published: float | None
    note: str


def rows() -> list[Row]:
    """Return all numbers to compare."""
    with FILE.open(newline="", encoding="utf-8") as file:
        _, *lines = csv.reader(file)
    return [
        Row(
            family,
            method,
            split,
            metric,
            int(point or -1),
            _number(exact),
            _number(error) or 0.0,
            _number(published),
            note,
        )
        for family, method, split, metric, point, exact, error, published, note in lines
    ]


def _number(text: str) -> float | None:
    return float(text) if text else None


def measure(row: Row, trials: int) -> tuple[float, float, int]:
    """Mean, standard error and n of one row; joined splits are played in proportion to their tasks."""
    family = make_family(row.family)
    sizes = {split: family.support(split) or 1 for split in row.split.split("+")}
    n = total = square = 0.0
    for split, size in sizes.items():
        plan = Plan(split=split, trials=trials * size // sum(sizes.values()))
        played = evaluate(agents.load(row.method, family, split), family, plan)
        part = played.pooled(row.metric, row.point)
        n, total, square = n + part[0], total + part[1], square + part[2]
    mean = total / n
    return mean, math.sqrt(max(square / n - mean**2, 0) / n), int(n)


def _against(row: Row, mean: float, error: float) -> tuple[str, str]:
    """The exact value and the distance from it, in standard errors of both, as text."""
    if row.exact is None:
        return "", ""
    both = math.hypot(error, row.error)
    own = f" (SE {row.error:g})" if row.error else ""
    distance = (
        f"{(mean - row.exact) / both:+.1f}" if both > 1e-9 else f"no noise: {mean - row.exact:+.4f}"
    )
    return f"{row.exact:g}{own}", distance


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    print(
        "| family | method | split | metric | ours | SE | n | exact | distance in SE | published | note |"
    )
    print("|---|---|---|---|--:|--:|--:|--:|--:|--:|---|")
    for row in rows():
        trials = 200_000 if row.family.startswith("bandit") else 20_000
        mean, error, n = measure(row, trials // 10 if quick else trials)
        exact, gap = _against(row, mean, error)
        published = "" if row.published is None else f"{row.published:g}"
        point = f" {row.point + 1}" if row.point >= 0 else ""
        print(
            f"| {row.family} | {row.method} | {row.split} | {row.metric}{point} | {mean:.4f} | {error:.4f} | {n:,} "
            f"| {exact} | {gap} | {published} | {row.note} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
