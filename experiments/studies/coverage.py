"""How often do intervals over training seeds hold the truth where scores are skewed? By simulation.

    python -m experiments.studies.coverage

Each study draws the scores of n seeds on 20 tasks: *normal*; *lognormal* (of a standard normal: a few seeds are far
better than most); or *collapse* (each seed fails with a probability of one in five, at 0 in place of 1, beside a
spread of 0.05). A task adds noise a hundredth as large as the seeds' spread, so that the seeds hold the variance.
Printed, in percent: how many nominal 95% intervals hold the true mean; *ours* is ``bridge.evaluation.stats.interval``
(t over seeds below 10 seeds, then the crossed bootstrap), and the others are methods that it is compared with. *Warned*
is how many studies get the report's warning (``bridge.evaluation.stats.skewed``): on normal scores, its false alarms.

Shape letters: N studies, S seeds, T tasks, R resamples.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import scipy.stats
from jaxtyping import Float

from bridge.evaluation import stats
from bridge.evaluation.stats import Resampled

SEEDS = (3, 5, 10, 20)
TASKS = 20
REPS = 1_000
Scores = Float[np.ndarray, " S"]
Ends = tuple[float, float]

KINDS: dict[str, tuple[Callable[[np.random.Generator, int], Scores], float]] = {
    "normal": (lambda rng, n: rng.normal(size=n), 0.0),
    "lognormal": (lambda rng, n: np.exp(rng.normal(size=n)), float(np.exp(0.5))),
    "collapse": (lambda rng, n: (rng.random(n) >= 0.2) + 0.05 * rng.normal(size=n), 0.8),
}
"""Scores of n seeds, and their true mean."""


def ours(table: Float[np.ndarray, "S T"], rng: np.random.Generator) -> Ends:
    """The interval of the report."""
    found = stats.interval(Resampled.mean, table, reps=REPS, seed=int(rng.integers(1 << 31)))
    return found.low, found.high


def student(table: Float[np.ndarray, "S T"], rng: np.random.Generator) -> Ends:
    """Student's t over the seeds' means."""
    found = stats.seed_interval(table.mean(1))
    return found.low, found.high


def bca(table: Float[np.ndarray, "S T"], rng: np.random.Generator) -> Ends:
    """The bias-corrected and accelerated bootstrap (Efron 1987) of the seeds' means, as scipy has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # resamples without spread, of few seeds
        found = scipy.stats.bootstrap(
            (table.mean(1),), np.mean, method="BCa", n_resamples=REPS, rng=rng
        )
    return found.confidence_interval.low, found.confidence_interval.high


def bootstrap_t(table: Float[np.ndarray, "S T"], rng: np.random.Generator) -> Ends:
    """The studentised bootstrap (Efron 1979) of the seeds' means."""
    x = table.mean(1)
    drawn = x[rng.integers(len(x), size=(REPS, len(x)))]
    error = drawn.std(1, ddof=1) / np.sqrt(len(x))
    told = error > 1e-9 * x.std()
    low, high = np.quantile((drawn.mean(1)[told] - x.mean()) / error[told], [0.975, 0.025])
    own = x.std(ddof=1) / np.sqrt(len(x))
    return x.mean() - low * own, x.mean() - high * own


METHODS: dict[str, Callable[[Float[np.ndarray, "S T"], np.random.Generator], Ends]] = {
    "ours": ours,
    "t": student,
    "BCa": bca,
    "bootstrap-t": bootstrap_t,
}


def study(kind: str, seeds: int, rng: np.random.Generator) -> Float[np.ndarray, "S T"]:
    """The table of one study."""
    scores = KINDS[kind][0](rng, seeds)
    return scores[:, None] + 0.01 * rng.normal(size=(seeds, TASKS))


def coverage(kind: str, seeds: int, method: str, studies: int) -> float:
    """Return the share of the studies, in [0, 1], whose interval holds the true mean; the same studies every time."""
    hits, truth = 0, KINDS[kind][1]
    for number in range(studies):
        rng = np.random.Generator(np.random.PCG64([seeds, number]))
        low, high = METHODS[method](study(kind, seeds, rng), rng)
        hits += bool(low <= truth <= high)
    return hits / studies


def warned(kind: str, seeds: int, studies: int) -> float:
    """Return the share of the studies, in [0, 1], that the report warns of."""
    generators = (
        np.random.Generator(np.random.PCG64([seeds, number])) for number in range(studies)
    )
    return float(np.mean([stats.skewed(study(kind, seeds, rng).mean(1)) for rng in generators]))


def main() -> None:
    """Simulate and print the table, as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=10_000)
    studies = parser.parse_args().studies
    print(
        f"| scores | seeds | {' | '.join(METHODS)} | warned |\n|---|--:|{'--:|' * (len(METHODS) + 1)}"
    )
    for kind in KINDS:
        for seeds in SEEDS:
            found = [coverage(kind, seeds, method, studies) for method in METHODS]
            numbers = " | ".join(
                f"{100 * share:.0f}" for share in (*found, warned(kind, seeds, studies))
            )
            print(f"| {kind} | {seeds} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
