"""``metabridge remedies``: what repairs methods under shift, and what it costs in distribution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.commands.common import one_thread


@dataclass(frozen=True, kw_only=True)
class Remedies:
    """Train on more and on wider tasks, and take steps at test: what it costs on id, and gains under shift.

    For example: metabridge remedies --size quick --out results/remedies
    """

    size: Literal["smoke", "quick", "small"] = "quick"
    """quick: two methods at a quarter of the zoo's budgets; small: three methods at the whole budgets, which takes
    hours."""
    out: Path
    """The folder of rows, runs, tables (remedies.md) and the figure. What is done already is not done again."""

    def run(self) -> int:
        """Do what is missing, then print and draw all of it."""
        from experiments.studies.remedies import study

        one_thread()
        study.run(study.SIZES[self.size], self.out)
        return 0
