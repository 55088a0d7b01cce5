"""``metabridge evaluate``: one method on one family."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from bridge.config import Seed, Trials
from bridge.evaluation.plan import Plan
from experiments.commands.common import names_of, one_thread


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Play one method on one family, beside the references that its scores need.

    For example: metabridge evaluate ucb1:c=0.1 --family bandit:k=5,n=100 --splits id,shift/gap/3
    """

    method: Positional[str]
    """A method, with parameters after a colon (ucb1:c=0.1), a trained run (its folder, or zoo:icl_rl/gridnavi), or your
    own agent: path/to/mine.py:MyAgent."""
    family: str = ""
    """A family, with parameters after a colon: bandit:k=5,n=100; path/to/maze.py:Maze is your own (default: the run's;
    bandit:k=5,n=10 if there is no run)."""
    splits: tuple[str, ...] = ("id",)
    """Split names or patterns: id,shift/gap/3, shift/gap, shift/*/4."""
    trials: Trials = 10_000
    """Trials a split."""
    track: Literal["O", "C", "F"] = "O"
    """O: own exploration; C: a common context, then frozen; F: free adaptation, then frozen."""
    behaviour: str = ""
    """The agent that makes the context of track C: a reference (graded:noise=0.5), a run's folder, or your own agent
    (default: random); splits of the axis context_quality make their own."""
    shots: int = 0
    """Tracks C and F: episodes of context or adaptation (0: the whole trial)."""
    trials_per_task: int = 0
    """Trials that share a task, where tasks are continuous (0: one each); 64 or more for the worst fifth of tasks."""
    eval_seed: Seed = 0
    """Seed of the evaluation's noise."""
    decode: str = ""
    """Rule by which a trained run's distributions become actions while it explores: sample (as it was trained), argmax,
    or a temperature: 0.5. Frozen episodes (tracks C and F) are scored by the likeliest actions."""
    memory: str = "1GB"
    """Memory for playing, on top of the process's own: 500MB, 2GB. It changes no number."""
    json: bool = False
    """Print JSON lines of the method: method, family, split, metric, mean, low, high, n."""
    out: Path | None = None
    """Keep the rows in this folder, beside those of compare and of other evaluations with the same trials, for
    metabridge report; what it holds is not played again (default: keep none)."""

    def run(self) -> int:
        """Play and print."""
        from bridge.evaluation.footprint import parse_memory
        from experiments import evaluation, specs

        one_thread()
        plan = Plan(
            trials=self.trials,
            track=self.track,
            shots=self.shots,
            trials_per_task=self.trials_per_task,
            eval_seed=self.eval_seed,
        )
        splits = names_of("splits", self.splits, ("id",))
        memory = parse_memory(self.memory)
        family = self.family or specs.own_family(self.method)
        read, asked = evaluation.play(
            self.method, family, splits, plan, self.behaviour, self.decode, memory, self.out
        )
        if self.json:
            for found in evaluation.objects(read, asked):
                print(json.dumps(found, allow_nan=False))
        else:
            evaluation.show(read, asked)
            if self.out:
                print(f"Rows: {self.out}. Next: metabridge report {self.out}")
        return 0
