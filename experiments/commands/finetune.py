"""``metabridge finetune``: a copy of a trained transformer, tuned for a family."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from bridge.config import Seed
from bridge.errors import UserError
from experiments.commands.common import one_thread


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Tune a copy of a trained transformer on tasks of one split, or on demonstrations; evaluate it on others. Stop it
    at any moment and go on with --resume.

    For example: metabridge finetune zoo:icl_rl/bandit --split shift/reward_sign/4 --out runs/lora
    """

    base: Positional[str]
    """A trained transformer (icl_ad, icl_dpt, icl_rl, mt): its folder, or zoo:icl_rl/gridnavi."""
    family: str = ""
    """The family that it was trained on (default: that one)."""
    split: str = ""
    """The split whose tasks are played for reward: shift/reward_sign/4 (empty: train; with --demos, the histories')."""
    tasks: int = 16
    """Number of these tasks. If the split has endless tasks, none of them is one that evaluate scores."""
    demos: str = ""
    """Instead of reward, histories to imitate: a folder that metabridge data has made, a shard in it, or a Minari
    dataset (minari:NAME-v0, or minari:NAME-v0+task=COLUMN)."""
    tuner: Literal["lora", "full", "head", "ia3", "prompt"] = "lora"
    """Weights that are trained: adapters (lora, ia3), vectors read before every trial (prompt), the distribution of
    actions alone (head), or all (full)."""
    rank: int = 8
    """Rank of lora's updates; number of a prompt's vectors."""
    alpha: int = 16
    """Factor of lora's updates, times the rank."""
    targets: str = ""
    """Modules that adapters are added to, joined by +: q_proj+v_proj; empty: as published."""
    steps: int = 100
    """Gradient steps."""
    lr: float = 0.0
    """Learning rate at first; it falls linearly to zero (0: as suits the tuner)."""
    batch: int = 4_096
    """Environment steps that each gradient step learns from; they are of eight trials or more."""
    seed: Seed = 0
    """Seed of new weights, play and windows."""
    out: Path
    """A new folder, for the base and the learned weights: peft's adapter, or a whole policy."""
    resume: bool = False
    """Go on with the tuning that the folder holds."""
    checkpoint_every: float = 300.0
    """Seconds between checkpoints: most work that a kill can lose."""

    def run(self) -> int:
        """Tune, and print the next command; or that a signal stopped it."""
        if self.demos and self.tasks != Finetune.tasks:
            raise UserError(
                "--tasks is for play; --demos has tasks of its own. Leave one of them out."
            )
        from experiments import finetuned, specs
        from llm_adapt.finetuning import Config

        one_thread()
        config = Config(**{field.name: getattr(self, field.name) for field in fields(Config)})
        about = finetuned.finetune(
            self.base,
            self.family or specs.own_family(self.base),
            config,
            self.out,
            split=self.split,
            demos=self.demos,
            resume=self.resume,
            checkpoint_every=self.checkpoint_every,
        )
        if about is None:
            print(
                f"Stopped and saved. Go on with the same command and --resume: {self.out}",
                file=sys.stderr,
            )
            return 130
        print(
            f"Tuned {about['params_trained']:,} of {about['params_total']:,} weights on {about['env_steps']:,} "
            f"environment steps: {self.out}. Next: metabridge evaluate {self.out} --family {about['family']} --splits "
            f"{about['split']}"
        )
        return 0
