"""``metabridge check``: the conformance kit on a registered name or on a user's own family or agent."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from experiments.commands.common import one_thread


@dataclass(frozen=True, kw_only=True)
class Check:
    """Does a family or an agent keep the contract? One line a rule.

    For example: metabridge check bayes --family gridnavi
    """

    target: Positional[str]
    """A registered family or method, the folder of a trained run, or your own: path/to/file.py:Name or module:Name."""
    family: str = ""
    """The family that an agent is checked on; path/to/maze.py:Maze is your own (default: a trained run's, else
    bandit:k=5,n=10)."""

    def run(self) -> int:
        """Run every rule and print what came of it."""
        from experiments import checking

        one_thread()
        return checking.check(self.target, self.family)
