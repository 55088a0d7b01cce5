"""``metabridge tune``: a hyperparameter search on id_val."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from bridge.config import Seed, Within
from experiments.commands.common import SizeName, budget_of, one_thread


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Train N configurations of a method, drawn by seed, and choose the best on id_val; then train that one.

    For example: metabridge tune rl2 --family bandit:k=5,n=10 --configs 4 --out runs/rl2-tuned
    """

    method: Positional[str]
    """A learned method; what stands after its colon is kept fixed (rl2:hidden=128)."""
    family: str = "bandit:k=5,n=10"
    """A family, with parameters after a colon; path/to/maze.py:Maze is your own."""
    configs: Annotated[int, Within(1, 10_000)] = 8
    """Number of configurations, the method's defaults among them."""
    seed: Seed = 0
    """Seed of the draws; configuration i is the same whatever --configs, so that a search can go on."""
    size: SizeName | None = None
    """The size whose budget each configuration is trained for (default: quick)."""
    budget: str = ""
    """Instead of the size's: environment steps (5e6), seconds of training (600s) or operations (1e15flops)."""
    out: Path
    """The tuning folder; what is done in it is not done again."""

    def run(self) -> int:
        """Train, score and print."""
        from experiments import search

        one_thread()
        budget = budget_of(self.budget, self.method, self.family, self.size)
        search.tune(
            self.method,
            self.family,
            configs=self.configs,
            seed=self.seed,
            budget=budget,
            out=self.out,
        )
        return 0
