"""``metabridge attribute``: why methods fall short of the oracle."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.commands.common import one_thread
from experiments.commands.histories import OnHistories


@dataclass(frozen=True, kw_only=True)
class Attribute(OnHistories):
    """Take each method's gap to the oracle apart: information, prior, memory, inference, gradient steps, exploration.

    On ``id`` and at the last level of each axis, as far as the exact learners are known.

    For example: metabridge attribute --family bandit --axes reward_sign --out results/histories
    """

    def run(self) -> int:
        """Do what is missing, then print and draw all of it."""
        from experiments.studies.attribution.study import Study

        one_thread()
        print(self.study(Study).run())
        return 0
