"""``metabridge finetune``: a copy of a trained transformer, tuned for a family."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from bridge.config import Seed
from bridge.errors import UserError
from experiments.commands.common import one_thread


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Tune a copy of a trained transformer on tasks of one split, or on demonstrations; evaluate it on others. Stop it
    at any moment and go on with --resume."""

    base: Positional[str]
    """The folder of a trained transformer (icl_ad, icl_dpt, icl_rl, mt)."""
    family: str = "bandit:k=5,n=10"
    """The family that it was trained on."""
    split: str = ""
    """Whose tasks are played for reward: shift/reward_sign/4 (empty: train; with --demos, that of the histories)."""
    tasks: int = 16
    """How many of them; where a split has tasks without end, none that evaluate scores."""
    demos: str = ""
    """Instead of reward, histories to imitate: a folder that metabridge data has made, or a shard in it."""
    tuner: Literal["lora", "full", "head", "ia3", "prompt"] = "lora"
    """What is trained: adapters (lora, ia3), vectors read before every trial, the distribution of actions alone, or
    all weights."""
    rank: int = 8
    """Of lora's updates; how many vectors a prompt has."""
    alpha: int = 16
    """What lora's updates are multiplied by, times the rank."""
    targets: str = ""
    """Modules that adapters are added to, joined by +: q_proj+v_proj; empty: as published."""
    steps: int = 100
    """Gradient steps."""
    lr: float = 0.0
    """Learning rate at first; it falls linearly to zero (0: as suits the tuner)."""
    batch: int = 4_096
    """Environment steps that each gradient step learns from; they are of eight trials or more."""
    seed: Seed = 0
    """Of new weights, play and windows."""
    out: Path
    """A new folder: the base, and what was learned as peft's adapter or a whole policy."""
    resume: bool = False
    """Go on with the tuning that the folder holds."""
    checkpoint_every: float = 300.0
    """Seconds between checkpoints: most work that a kill can lose."""

    def run(self) -> int:
        """Tune and say what next, or that a signal asked to stop."""
        if self.demos and self.tasks != Finetune.tasks:
            raise UserError(
                "--tasks is for play; --demos has tasks of its own. Leave one of them out."
            )
        from experiments import finetuned
        from llm_adapt.finetuning import Config

        one_thread()
        names = ("tuner", "rank", "alpha", "targets", "steps", "lr", "batch", "tasks", "seed")
        config = Config(**{name: getattr(self, name) for name in names})
        more = {
            name: getattr(self, name) for name in ("split", "demos", "resume", "checkpoint_every")
        }
        about = finetuned.finetune(self.base, self.family, config, self.out, **more)
        if about is None:
            print(
                f"Stopped and saved. Go on with the same command and --resume: {self.out}",
                file=sys.stderr,
            )
            return 130
        print(
            f"Tuned {about['params_trained']:,} of {about['params_total']:,} weights on {about['env_steps']:,} "
            f"environment steps: {self.out}. Next: metabridge evaluate {self.out} --family {self.family} --splits "
            f"{about['split']}"
        )
        return 0
