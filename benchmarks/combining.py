"""The cost of combining tasks' gradients in multi-task RL, as a ratio to a step on the mean loss.

    python benchmarks/combining.py [--tasks 10 50]

Prints, on one thread, CPU milliseconds of a gradient step of ``mtrl`` for every combiner, and the ratio to that of
``mean``, which has no gradients of single tasks. Each slot of the batch is a task of a dark room. The combiners take
turns, so that all meet the same machine; medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

from bridge.tasks import family as make_family
from rl_algos.concerns.interference import SURGERY
from rl_algos.mtrl import Config, MtrlLearner

TURNS = 7


class Step:
    """One gradient step on a batch that was played before."""

    def __init__(self, combine: Any, tasks: int) -> None:
        config = Config(combine=combine, tasks_per_update=tasks, hidden_ids=0.0)
        self.learner = MtrlLearner(make_family(f"darkroom:tasks={tasks}"), config, seed=0)
        self.batch = self.learner._play()

    def milliseconds(self) -> float:
        """CPU time of the step."""
        began = time.process_time()
        self.learner._backward(*self.batch, 0.01)
        self.learner.table.clip_gradients("", 1.0)
        self.learner.optimizer.step()
        return (time.process_time() - began) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=(10, 50))
    torch.set_num_threads(1)
    for tasks in parser.parse_args().tasks:
        steps = {name: Step(name, tasks) for name in ("mean", "equal", "grad_norm", *SURGERY)}
        for step in steps.values():
            step.milliseconds()
        times = {name: [] for name in steps}
        for _ in range(TURNS):
            for name, step in steps.items():
                times[name].append(step.milliseconds())
        mean = statistics.median(times["mean"])
        for name, found in times.items():
            middle = statistics.median(found)
            print(
                f"{tasks:3d} tasks, {name:12s} {middle:7.1f} ms a step, {middle / mean:5.1f} x mean"
            )


if __name__ == "__main__":
    main()
