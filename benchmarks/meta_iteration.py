"""How fast a meta-iteration of MAML is: all tasks at once against a loop over tasks in the same code, in one process.

    python benchmarks/meta_iteration.py [--repeats 5]

The setting is 2D navigation with 40 tasks, 20 episodes of 100 steps each before and after one inner step, 64 x 64
hidden units, one thread. The loop calls the very same functions with one task at a time. Both ways are timed in turn;
medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from bridge import memory as tree
from bridge.noise import TrialNoise
from bridge.tasks import family as make_family
from rl_algos import per_task
from rl_algos.maml import Config, MamlLearner
from rl_algos.per_task import Episodes, Parameters

TASKS, EPISODES, HORIZON = 40, 20, 100


class Iteration:
    """The parts of one meta-iteration on any of its tasks."""

    def __init__(self) -> None:
        self.family = make_family("point_nav")
        config = Config(tasks_per_update=TASKS, episodes_per_step=EPISODES, inner_steps=1, epochs=1)
        self.learner = MamlLearner(self.family, config, seed=0)
        self.inner = self.learner.inner

    def play(self, params: Parameters, rows: torch.Tensor) -> Episodes:
        """Sampling, and the baselines' fits."""
        tasks, noise = self.family.sample("train", rows), TrialNoise.of("benchmark", rows)
        policy = self.inner.policy
        return self.inner.with_advantages(
            per_task.roll_out(policy, params, self.family, tasks, noise, EPISODES)
        )

    @torch.no_grad()
    def step(self, params: Parameters, episodes: Episodes) -> Parameters:
        """The inner step, first order."""
        return self.inner.step(params, episodes, "fomaml")[0]

    def meta_gradient(self, stages: list[Episodes]) -> None:
        """Through the inner step; gradients add up over calls."""
        self.learner._after_adapting(stages, 0.0)[0].backward()

    def run(self, groups: list[torch.Tensor]) -> dict[str, float]:
        """Seconds of every part, one group of tasks after another."""
        clock = dict.fromkeys(("play before", "inner step", "play after", "meta-gradient"), 0.0)

        def timed(name: str, part: Callable, *arguments):
            began = time.perf_counter()
            result = part(*arguments)
            clock[name] += time.perf_counter() - began
            return result

        for rows in groups:
            start = tree.select(
                {n: p.detach() for n, p in self.inner.start(TASKS).items()}, slice(len(rows))
            )
            before = timed("play before", self.play, start, rows)
            adapted = timed("inner step", self.step, start, before)
            after = timed("play after", self.play, adapted, rows)
            timed("meta-gradient", self.meta_gradient, [before, after])
        return clock


BOUND = {
    "play before": "steps that follow one another: 100 rounds of small tensor operations",
    "inner step": "arithmetic of 80,000 forward and backward passes",
    "play after": "steps that follow one another: 100 rounds of small tensor operations",
    "meta-gradient": "arithmetic of 160,000 passes, half of them differentiated twice",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5, help="times that each way is measured")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    iteration, every = Iteration(), torch.arange(TASKS)
    ways = {"at once": [every], "looped": list(every.split(1))}
    clocks: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, groups in ways.items():
            clocks[way].append(iteration.run(groups))
    medians = {
        way: {part: statistics.median(c[part] for c in got) for part in BOUND}
        for way, got in clocks.items()
    }
    print(
        f"{TASKS} tasks x {EPISODES} episodes x {HORIZON} steps, one thread, torch {torch.__version__}, seconds"
    )
    print(f"{'':14s} {'at once':>8s} {'looped':>8s} {'ratio':>6s}  bound by")
    for part, why in BOUND.items():
        once, looped = (medians[way][part] for way in ways)
        print(f"{part:14s} {once:8.3f} {looped:8.3f} {looped / once:6.1f}  {why}")
    for name, parts in (("sampling", ("play before", "play after")), ("whole", tuple(BOUND))):
        once, looped = (sum(medians[way][part] for part in parts) for way in ways)
        print(f"{name:14s} {once:8.3f} {looped:8.3f} {looped / once:6.1f}")


if __name__ == "__main__":
    main()
