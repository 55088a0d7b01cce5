"""``metabridge concerns``: what makes tasks get in one another's way, and what relieves it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.commands.common import one_thread


@dataclass(frozen=True, kw_only=True)
class Concerns:
    """Try mitigations of multi-task RL side by side, on testbeds with a dial for each concern.

    For example: metabridge concerns --size quick --out results/concerns
    """

    size: Literal["smoke", "quick", "small"] = "quick"
    """quick: five seeds; small: ten, with slow mitigations, SAC and MiniGrid. Surgery and MiniGrid need
    pip install 'metabridge[concerns,minigrid]'."""
    out: Path
    """The folder of rows, runs, tables (concerns.md, concerns.csv, tasks.csv) and figures. What is done already is not
    done again."""

    def run(self) -> int:
        """Do what is missing, then print the tables."""
        from experiments.studies.concerns import study

        one_thread()
        study.run(study.SIZES[self.size], self.out)
        return 0
