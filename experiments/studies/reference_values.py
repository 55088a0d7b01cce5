"""Do the references have their exact values, and how do published numbers stand beside them?

    python -m experiments.studies.reference_values            (about 15 minutes on two cores; --quick: two)

Prints a Markdown table: our mean and standard error, the exact value where there is one with the difference in
standard errors, and the published number. Exact values are dynamic programmes, closed forms or integrals that were
computed apart from this code; published numbers are means of 1,000 trials (Duan et al. 2016, tables 1 and 2), so that
their standard error at (k=5, n=100) is 0.5, with constants chosen on the very trials that are reported.
"""

from __future__ import annotations

import argparse
import math
from typing import NamedTuple

import torch

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from experiments import agents


class Row(NamedTuple):
    """One number to compare."""

    family: str
    method: str
    exact: float | None = None
    """Computed apart from this code; exact unless ``error`` is given."""
    error: float = 0.0
    """Standard error of ``exact``, where that is itself a simulation."""
    published: float | None = None
    split: str = "id"
    metric: str = "trial_return"
    point: int = -1
    note: str = ""


BANDITS = [
    Row("bandit:k=2,n=10", "bayes", 6.0218),
    Row("bandit:k=2,n=20", "bayes", 12.4313),
    Row("bandit:k=2,n=50", "bayes", 31.9967),
    Row("bandit:k=5,n=10", "bayes", 6.6600, note="dynamic programming"),
    Row("bandit:k=5,n=10", "gittins", 6.659, 0.007, published=6.6),
    Row(
        "bandit:k=5,n=10",
        "ucb1:c=0.1",
        6.658,
        0.016,
        published=6.7,
        note="published exceeds the optimum",
    ),
    Row("bandit:k=5,n=10", "greedy", None, published=6.6),
    Row("bandit:k=5,n=10", "epsilon_greedy", None, published=6.6),
    Row("bandit:k=5,n=10", "thompson", 5.85, 0.016, published=5.7),
    Row("bandit:k=5,n=10", "random", 5.0, published=5.0),
    Row("bandit:k=5,n=10", "oracle", 50 / 6),
    Row("bandit:k=10,n=10", "bayes", 6.7140),
    Row("bandit:k=10,n=10", "ucb1:c=0.1", 6.71, 0.015, published=6.7),
    Row("bandit:k=10,n=10", "thompson", 5.58, 0.015, published=5.5),
    Row("bandit:k=50,n=10", "bayes", 6.7140),
    Row("bandit:k=50,n=10", "thompson", 5.15, 0.015, published=5.2),
    Row("bandit:k=5,n=100", "gittins", 78.66, 0.05, published=78.3),
    Row("bandit:k=5,n=100", "ucb1:c=0.2", 78.55, 0.115, published=78.0),
    Row("bandit:k=5,n=100", "greedy", None, published=74.8),
    Row("bandit:k=5,n=100", "epsilon_greedy", None, published=75.4),
    Row("bandit:k=5,n=100", "thompson", 74.9, 0.115, published=74.7),
    Row("bandit:k=5,n=100", "random", 50.0, published=49.9),
    Row("bandit:k=10,n=100", "gittins", 83.65, 0.04, published=82.8),
    Row("bandit:k=10,n=100", "ucb1:c=0.2", 83.29, 0.081, published=82.4),
    Row("bandit:k=10,n=100", "thompson", 77.1, 0.081, published=76.7),
    Row("bandit:k=50,n=100", "gittins", 85.57, 0.03, published=85.2),
    Row("bandit:k=50,n=100", "ucb1:c=0.2", 84.67, 0.062, published=84.3),
    Row("bandit:k=50,n=100", "thompson", 64.5, 0.062, published=64.5),
    Row("bandit:k=2,n=100", "gittins", 64.90, 0.05),
    Row("bandit:k=2,n=100", "ucb1:c=0.2", 64.71, 0.173),
    Row("bandit:k=2,n=100", "ucb1:c=1.0", 61.07, 0.173),
    Row("bandit:k=2,n=100", "thompson", 63.95, 0.173),
    *(
        Row(f"bandit:k=2,n=100,arms=dependent_{kind}", "bayes", value, metric=metric)
        for kind, regret, reward in (
            ("uniform", 1.221, 73.78),
            ("easy", 0.625, 89.375),
            ("medium", 1.000, 74.0),
            ("hard", 2.312, 57.69),
        )
        for metric, value in (("regret", regret), ("trial_return", reward))
    ),
    Row("bandit:k=5,n=500,arms=gaussian", "thompson", 9.36, 0.12, metric="regret"),
    Row("bandit:k=5,n=500,arms=gaussian", "ucb1", 10.65, 0.09, metric="regret"),
    Row("bandit:k=5,n=500,arms=gaussian", "bayes", metric="regret"),
]
MDPS = [
    Row("tabular_mdp", "random", 100.0, published=100.1),
    Row("tabular_mdp", "psrl", None, published=138.1, note="prior N(1,1), the true one"),
    Row(
        "tabular_mdp",
        "psrl:prior_mean=0",
        None,
        published=138.1,
        note="the published code's prior mean",
    ),
    Row("tabular_mdp", "opsrl", None, published=144.1, note="5 draws, prior N(1,1)"),
    Row(
        "tabular_mdp",
        "opsrl:prior_mean=0,samples=20",
        None,
        published=144.1,
        note="the published code's prior mean",
    ),
    Row("tabular_mdp", "ucrl2", None, published=146.6),
    Row("tabular_mdp", "beb", None, published=150.2),
    Row("tabular_mdp", "epsilon_greedy", None, published=132.8),
    Row("tabular_mdp", "greedy", None, published=134.8, note="published: no prior to speak of"),
    Row("tabular_mdp", "oracle", 218.0, 0.16),
]
GRIDS = [
    Row("gridnavi", "bayes", 4.00, metric="episode_return", point=0),
    Row("gridnavi", "bayes", 11.07, metric="episode_return", point=1),
    Row("gridnavi", "bayes", 37.21),
    Row("gridnavi", "oracle", 11.07, metric="episode_return"),
    Row(
        "darkroom:episodes=1",
        "oracle",
        90.90,
        metric="episode_return",
        note="the 20 published test goals",
    ),
    Row(
        "darkroom:episodes=1",
        "oracle",
        92.26,
        split="train+id_val",
        metric="episode_return",
        note="the other 80",
    ),
    Row("darkroom:episodes=1", "random", None, published=0.7, metric="episode_return"),
]
POINTS = [
    Row("point_nav:episodes=1", "oracle", -0.5060, note="3.7 steps"),
    Row("point_nav:episodes=1,variant=paper", "oracle", -0.1333),
    Row("point_nav:episodes=1", "oracle", -2.9973, split="shift/ring/4"),
    Row(
        "point_nav:episodes=1",
        "blind",
        -38.260,
        note="but for 1 in 2,500 episodes that end at once",
    ),
    Row("point_nav:episodes=1,variant=paper", "blind", -16.667, note="the same"),
    Row("point_nav:episodes=1", "blind", -89.273, split="shift/ring/4"),
    Row("point_nav:episodes=3", "psrl", -51.68, 0.12, metric="episode_return", point=0),
    Row("point_nav:episodes=3", "psrl", -9.81, 0.35, metric="episode_return", point=1),
    Row(
        "point_nav:episodes=3",
        "psrl",
        None,
        metric="episode_return",
        point=2,
        note="nearly all know the goal",
    ),
    Row("sparse_point:episodes=1", "oracle", 13.4177, note="the 20 published test goals"),
    Row(
        "sparse_point:episodes=1,variant=dense",
        "oracle",
        -3.8555,
        note="the 20 published test goals",
    ),
    Row(
        "sparse_point:episodes=6",
        "psrl",
        None,
        metric="episode_return",
        note="69% of the oracle over all 100 goals",
    ),
    Row("sparse_point:episodes=10", "psrl", None, metric="episode_return", note="97%"),
]


def measure(row: Row, trials: int) -> tuple[float, float, int]:
    """Mean, standard error and n of one row; ``+`` joins splits in proportion to their tasks."""
    family = make_family(row.family)
    n = total = square = 0.0
    for split in row.split.split("+"):
        support = family.support(split)
        count = (
            trials * (support or 1) // (80 if "+" in row.split else (support or 1))
            if "+" in row.split
            else trials
        )
        played = evaluate(
            agents.load(row.method, family, split), family, Plan(split=split, trials=count)
        )
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
    for rows, trials in ((BANDITS, 200_000), (MDPS, 20_000), (GRIDS, 20_000), (POINTS, 20_000)):
        for row in rows:
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
