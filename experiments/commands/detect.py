"""``metabridge detect``: would a method have known that a trial goes wrong?"""

from __future__ import annotations

from dataclasses import dataclass

from experiments.commands.common import one_thread
from experiments.commands.histories import OnHistories


@dataclass(frozen=True, kw_only=True)
class Detect(OnHistories):
    """Score signals of failure from the first half of trials, and what a switch to a fallback gains by them.

    A signal is fitted on trials of training tasks alone. Low returns are the cheap signal that others have to beat.
    Axes are played at their levels 2 and 4.

    For example: metabridge detect --family bandit --axes reward_sign --out results/histories
    """

    def run(self) -> int:
        """Do what is missing, then print and draw all of it."""
        from experiments.studies.detection.study import Study

        one_thread()
        print(self.study(Study).run())
        return 0
