"""``metabridge mirror``: which methods respond alike to the same histories."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.commands.common import one_thread
from experiments.commands.histories import OnHistories


@dataclass(frozen=True, kw_only=True)
class Mirror(OnHistories):
    """Let all methods observe the same histories, and compare their policies, states, regrets and errors.

    Does in-context adaptation mirror RL², and LoRA fine-tuning MAML? Every two methods are compared, beside a floor
    (random play) and a ceiling (other training seeds of the same method).

    For example: metabridge mirror --family bandit --size quick --out results/histories
    """

    def run(self) -> int:
        """Do what is missing, then print and draw all of it."""
        from experiments.studies.mirror.study import Study

        one_thread()
        print(self.study(Study).run())
        return 0
