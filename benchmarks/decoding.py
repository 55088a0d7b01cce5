"""What does a cache save a transformer that acts, and how fast does it act?

    python benchmarks/decoding.py

Prints, on one thread, how long one step of B trials takes with n tokens behind it: read from the cache and written to
it, and as the last token of the whole trial read again, which says the same; then the ratio of the two. Last come 1,000
trials of 100 steps, and a profile of where the time of a step goes.
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from bridge import memory as tree
from bridge.tasks.base import Discrete
from llm_adapt.cache import Cache, write
from llm_adapt.policy import TransformerPolicy, build

REPEATS = 5
SIZES = ((1, 100), (1, 1000), (64, 100), (64, 1000), (1000, 100))


def filled(policy: TransformerPolicy, tokens: Tensor) -> Cache:
    """A cache that has read all tokens, and has room for one more."""
    return policy.absorb(tokens, policy.new_cache(len(tokens), tokens.shape[1] + 1))


def milliseconds(run: Callable[[], object]) -> float:
    """The median of some runs after one to warm up; short ones are run several times."""
    run()
    times = []
    for _ in range(REPEATS):
        began, runs = time.perf_counter(), 0
        while time.perf_counter() - began < 0.2:
            run()
            runs += 1
        times.append((time.perf_counter() - began) / runs * 1e3)
    return statistics.median(times)


def measure(policy: TransformerPolicy, rows: int, behind: int) -> None:
    """One line of the table."""
    tokens = torch.randn(rows, behind + 1, policy.layout.width)
    token, cache, live = (
        tokens[:, behind],
        filled(policy, tokens[:, :behind]),
        torch.ones(rows, dtype=torch.bool),
    )
    unlike = cache._replace(length=cache.length - torch.arange(rows) % 2)
    entry = policy.read(token, cache).entry
    read, read_unlike = (
        milliseconds(lambda: policy.read(token, cache)),
        milliseconds(lambda: policy.read(token, unlike)),
    )
    commit, again = (
        milliseconds(lambda: write(cache, entry, live)),
        milliseconds(lambda: policy(tokens)),
    )
    print(
        f"B={rows:<5} n={behind:<5} read {read:6.2f} ms ({read_unlike:6.2f} where rows have unlike lengths), "
        f"write {commit:5.2f} ms; all again {again:7.1f} ms, {again / (read + commit):4.0f} times as long"
    )


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    policy = build("llama", Discrete(10), Discrete(5), hidden=64, layers=3, heads=4).eval()
    print(
        f"llama, {sum(p.numel() for p in policy.parameters()):,} parameters, one thread, median of {REPEATS}"
    )
    for rows, behind in SIZES:
        measure(policy, rows, behind)
    tokens = torch.randn(1000, 100, policy.layout.width)
    cache = policy.new_cache(1000, 100)
    began = time.perf_counter()
    for token in tokens.unbind(1):
        cache = write(cache, policy.read(token, cache).entry)
    print(f"1,000 trials of 100 steps: {time.perf_counter() - began:.1f} s")
    for rows in (1, 1000):
        few, profile = tree.select(cache, slice(0, rows)), cProfile.Profile()
        profile.runcall(
            lambda few=few, rows=rows: [policy.read(tokens[:rows, 0], few) for _ in range(20)]
        )
        print(f"\nWhere 20 steps of {rows} rows go:")
        pstats.Stats(profile).sort_stats("tottime").print_stats(8)


if __name__ == "__main__":
    main()
