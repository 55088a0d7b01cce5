"""How fast RL² trains: environment steps a second, everything included, as ratios to a plain ``nn.GRU`` in one process.

    python benchmarks/training.py [--steps 3e6]

The setting is the bandit of 5 arms and 100 pulls, 64 hidden units and 4 PPO epochs. "All" counts the whole training
from the first update to the last checkpoint (evaluations on id_val and files included, starting Python not); "median"
is that of single updates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from bridge.training.budget import Budget
from experiments import runs
from rl_algos import nets

FAMILY, METHOD = "bandit:k=5,n=100", "rl2:steps_per_update=51200,minibatches=4"


class PlainGru(nets.Gru):
    """The same recurrence, unrolled by torch's own ``nn.GRU``."""

    def unroll(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        cell = self.cell
        weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
        return torch.gru(x, state[None], weights, True, 1, 0.0, self.training, False, False)[0]


def measure(steps: float, processes: int) -> tuple[float, float]:
    """Environment steps a second over a whole training, and in its median update."""
    with tempfile.TemporaryDirectory() as place:
        run = runs.Run(
            method=METHOD,
            family=FAMILY,
            seed=0,
            budget=Budget(steps),
            out=Path(place),
            processes=processes,
        )
        runs.train_quietly(run, resume=False)
        lines = [
            json.loads(text)
            for text in (Path(place) / "train.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        ended = (Path(place) / "model.safetensors").stat().st_mtime
        began = (Path(place) / "config.json").stat().st_mtime
    return lines[-1]["env_steps"] / (ended - began), statistics.median(
        line["steps_per_second"] for line in lines
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--steps", type=float, default=3e6, help="environment steps of each training"
    )
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    print(
        f"{METHOD} on {FAMILY}, {steps:,.0f} steps, one thread a process, torch {torch.__version__}"
    )
    ours = nets.CORES["gru"]
    base = None
    for name, core, processes in (("nn.GRU", PlainGru, 1), ("ours", ours, 1), ("ours", ours, 2)):
        nets.CORES["gru"] = core
        began = time.monotonic()
        whole, median = measure(steps, processes)
        base = base or whole
        print(
            f"{name:7s} {processes} process(es): all {whole:9,.0f} steps/s ({whole / base:.2f} x), "
            f"median update {median:9,.0f}; {time.monotonic() - began:.0f} s",
            flush=True,
        )
    nets.CORES["gru"] = ours


if __name__ == "__main__":
    main()
