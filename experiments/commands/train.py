"""``metabridge train``: a learned method in a run folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from bridge.config import Seed, Within
from experiments.commands.common import SizeName, budget_of, one_thread


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a learned method in a run folder; stop it at any moment and go on with --resume.

    For example: metabridge train rl2 --family bandit:k=5,n=10 --budget 1e6 --out runs/rl2
    """

    method: Positional[str]
    """A learned method, with parameters after a colon (rl2:hidden=128,critic=task), or a folder of metabridge tune."""
    family: str = ""
    """A family, with parameters after a colon; path/to/maze.py:Maze is your own (default: the tuning folder's;
    bandit:k=5,n=10 if there is none)."""
    seed: Seed = 0
    """Training seed."""
    size: SizeName | None = None
    """The size whose budget to train for (default: quick)."""
    budget: str = ""
    """Instead of the size's: environment steps (5e6), seconds of training (600s) or operations (1e15flops)."""
    out: Path
    """The run folder."""
    resume: bool = False
    """Go on with the run that the folder holds, to a larger --budget if there is one."""
    processes: Annotated[int, Within(1, 256)] = 1
    """Processes that play and learn together; 2 is faster on two cores, and another run than 1."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device of all tensors."""
    precision: Literal["no", "bf16"] = "no"
    """Mixed precision of the forward pass."""
    tracker: str = ""
    """Also log to a tracker that Accelerate knows: tensorboard (pip install tensorboard), wandb and others."""
    checkpoint_every: float = 300.0
    """Seconds between checkpoints: most of the work that a kill can lose."""

    def run(self) -> int:
        """Train until the budget is spent, or a signal stops it."""
        from experiments import runs, search, specs

        one_thread()
        method, family, count = self.method, self.family or specs.DEFAULT_FAMILY, 1
        if search.is_folder(method) and not specs.is_name(method):
            family = self.family or search.own_family(method)
            method, count = search.chosen(method, family)
        run = runs.Run(
            method=method,
            family=family,
            seed=self.seed,
            budget=budget_of(self.budget, self.method, family, self.size),
            out=self.out,
            tuning_configs=count,
            processes=self.processes,
            device=self.device,
            precision=self.precision,
            tracker=self.tracker,
            checkpoint_seconds=self.checkpoint_every,
        )
        if runs.train(run, resume=self.resume):
            print(f"Trained: {self.out}. Next: metabridge evaluate {self.out} --family {family}")
            return 0
        print(
            f"Stopped and saved. Go on with the same command and --resume: {self.out}",
            file=sys.stderr,
        )
        return 130
