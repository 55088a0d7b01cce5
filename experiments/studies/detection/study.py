"""The study: methods explore trials, and signals from their first half are scored on failures at their end."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool

from bridge.errors import UserError
from bridge.evaluation import policies
from bridge.evaluation.assignment import Assignment
from experiments import agents
from experiments.cells import Cell
from experiments.registry import LEARNERS
from experiments.studies.detection import figure, tables
from experiments.studies.detection.scores import OnSplit, Scored, scored
from experiments.studies.histories import Size
from experiments.studies.history_study import HistoryStudy, Report
from experiments.studies.players import Player

HOME = "id_val"
"""Trials of training tasks' distribution, from which signals and thresholds are known."""
RULE = "ucb1"
"""The fallback of methods that take gradient steps anyway."""


class Study(HistoryStudy):
    """Methods, and the fallback that each could switch to."""

    name = "detection"
    levels = (2, 4)
    sizes: ClassVar[dict[str, Size]] = {
        "smoke": Size((0, 1), 60),
        "quick": Size((0, 1, 2), 256),
        "small": Size((0, 1, 2, 3, 4), 512),
    }

    @property
    def shots(self) -> int:
        """The number of shots from which signals are computed, and after which a method could switch."""
        points = self.histories.plan("id").curve_points(self.histories.made)
        return max(shots for shots in points if 2 * shots <= points[-1])

    @property
    def fallbacks(self) -> dict[Player, Player]:
        """The fallback of each method that adapts: the method until half of the shots, then another agent, which has
        observed them.

        A method that adapts by its memory hands over to gradient steps on the same run, one that takes steps anyway to
        a rule without a prior.
        """
        rule, shots = agents.plays(RULE, self.histories.made), self.shots
        return {
            player: replace(player, tuned=f"handover:shots={shots},to={second}")
            for player in self.histories.methods
            if (second := _second(player, rule))
        }

    def cells(self) -> list[list[Cell]]:
        """Return the cells of methods, then those of fallbacks."""
        shifted, play = self.histories.splits, partial(self.histories.cells, track="F")
        splits = (HOME, *shifted)
        methods = play(
            list(self.fallbacks), ("random",), splits, signs=policies.SIGNS, signs_on=splits
        )
        return [methods[0], play(list(self.fallbacks.values()), (), shifted)[1]]

    def check(self) -> None:
        """Refuse what cannot be played.

        Raises:
            UserError: histories that cannot be played, trials of one episode, a single task of ``id_val``, or an axis
                that changes the length of trials.
        """
        super().check()
        made = self.histories.made
        episodes = made.trial("id").episodes
        if not self.shots:
            raise UserError(
                f"A trial of {made.id} is one episode, and a switch comes after half of them. Choose a family with "
                "longer trials, such as bandit."
            )
        if made.support(HOME) == 1:
            raise UserError(
                f"{HOME} of {made.id} is a single task, so that no signal could be known to be unusual. Choose another "
                "family, such as bandit."
            )
        for split in self.histories.splits:
            if made.trial(split).episodes != episodes:
                raise UserError(
                    f"Signals after {self.shots} of {episodes} episodes are compared, and a trial of {split} has "
                    f"{made.trial(split).episodes}. Choose other --axes."
                )

    def scores(self) -> dict[tuple[str, str], Scored]:
        """Return the scores of signals on each axis, by the axis and the method's name."""
        cells = [cell for some in self.cells() for cell in some]
        home, at_home = self.histories.read(cells, HOME), self.histories.read(cells, "id")
        found = {}
        for axis in dict.fromkeys(split.split("/")[1] for split in self.histories.splits[1:]):
            levels = [s for s in self.histories.splits if s.startswith(f"shift/{axis}/")]
            by_split = [at_home, *(self.histories.read(cells, split) for split in levels)]
            for player, fallback in self.fallbacks.items():
                names = (player.name, fallback.name, "random")
                found[axis, player.name] = scored(
                    home[player.name],
                    self._fold,
                    [OnSplit(*(responses[name] for name in names)) for responses in by_split],
                    shots=self.shots,
                    of_steps=_keeps_changes(player),
                )
        return found

    @property
    def _fold(self) -> Bool[np.ndarray, " N"]:
        """True for every other task of ``id_val``, by trial."""
        plan = self.histories.plan(HOME, "F")
        assignment = Assignment.of(self.histories.made, plan)
        return (assignment.task(torch.arange(plan.trials)) % 2 == 0).numpy()

    def report(self) -> Report:
        """Return the tables, the numbers by name, and the figure."""
        found = self.scores()
        fallbacks = {player.name: fallback.name for player, fallback in self.fallbacks.items()}
        return Report(
            tables.markdown(
                self.histories.made.id,
                self.histories.made.trial("id").episodes,
                found,
                fallbacks,
            ),
            ("axis", "method", "signal", "score"),
            tables.named(found),
            figure.draw(found, self.histories.out / "figures"),
        )


def _second(player: Player, rule: bool) -> str:
    """The name of the agent that a method hands over to; empty if it does not adapt, or there is none."""
    method = LEARNERS[player.method]
    if method.reads == "trial" and method.can_be_tuned:
        return "lora_reward" if method.transformer else "full_reward"
    return RULE if rule and method.takes_steps else ""


def _keeps_changes(player: Player) -> bool:
    """True if the states of a method are changes of its weights; those of transformers are hidden states."""
    method = LEARNERS[player.method]
    return method.takes_steps and not method.transformer
