"""How fast is the evaluator, and what does its bookkeeping cost?

    python benchmarks/evaluator.py

Prints environment steps a second of whole evaluations (sampling tasks, noise, play, sums by task) on one thread, the
ratio to a bare NumPy loop over the same bandit that shares none of our code and keeps only the total (its noise is
NumPy's own generator: unnamed, unpaired), and a profile of where the time goes.
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
import time

import numpy as np
import torch

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.references.bandit.bayes import bayes
from bridge.references.bandit.thompson import thompson
from bridge.references.random import Random
from bridge.tasks.bandit import Bandit

FAMILY = Bandit(k=5, n=100)
REPEATS = 5


def bare(trials: int) -> float:
    """A bare NumPy loop: uniform actions, Bernoulli rewards, one sum. Environment steps a second."""
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    means = rng.random((trials, FAMILY.k), dtype=np.float32)
    row, total = np.arange(trials), np.zeros(trials, np.float32)
    for _ in range(FAMILY.n):
        arm = rng.integers(FAMILY.k, size=trials)
        total += rng.random(trials, dtype=np.float32) < means[row, arm]
    return trials * FAMILY.n / (time.perf_counter() - began)


def ours(agent, trials: int) -> float:
    """A whole evaluation. Environment steps a second."""
    result = evaluate(agent, FAMILY, Plan(trials=trials))
    return result.env_steps / result.seconds


def main() -> None:
    torch.set_num_threads(1)
    print(f"{FAMILY.id}, one thread, median (min-max) of {REPEATS} runs after one warm-up")
    for name, agent in (
        ("random", Random(FAMILY)),
        ("thompson", thompson(FAMILY, "id")),
        ("bayes", bayes(FAMILY, "id")),
    ):
        for trials in (1_024, 100_000):
            ours(agent, trials), bare(trials)
            pairs = [(ours(agent, trials), bare(trials)) for _ in range(REPEATS)]
            speed = [a / 1e6 for a, _ in pairs]
            ratio = statistics.median(a / b for a, b in pairs)
            low, middle, high = min(speed), statistics.median(speed), max(speed)
            print(
                f"{name:8s} B={trials:>7,}: {middle:6.2f} ({low:.2f}-{high:.2f}) M steps/s, {ratio:.2f} x the bare loop"
            )
    profile = cProfile.Profile()
    profile.runcall(ours, Random(FAMILY), 100_000)
    print("\nWhere the time goes (random, B=100,000), by own time:")
    pstats.Stats(profile).sort_stats("tottime").print_stats(12)


if __name__ == "__main__":
    main()
