"""Prioritised level replay: training tasks are played again, those with surprising returns more often.

Jiang et al. 2021 (arXiv 2010.03934): the score of a task is the mean size of the advantages when it was last played,

    P(task) = (1 - rho) P_score + rho P_stale,    P_score ~ rank(score)^(-1 / beta),    P_stale ~ updates since then

Deviations from the paper: a batch of trials is drawn at once, so that its replayed tasks are drawn without replacement
(no task fills a batch before its score can change) and beta is 1 instead of 0.1, at which only the first few ranks of
hundreds in a batch would be chosen by their scores; scores are of advantages that are standardised over their batch;
the share of replayed trials is constant; and new tasks never run out, so that the tasks of the highest scores alone are
kept.

Shape letters: B trials, C kept tasks.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bridge.rng import Rows

CAPACITY = 4_000
"""Tasks that are kept."""
TEMPERATURE = 1.0
"""beta."""
STALENESS = 0.1
"""rho."""
_NONE = -1


class LevelReplay(nn.Module):
    """The kept tasks, by their numbers in ``train``, with their scores; no parameters."""

    number: Int[Tensor, " C"]
    score: Float[Tensor, " C"]
    played: Int[Tensor, " C"]
    """The update in which a task was last played."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        super().__init__()
        self.register_buffer("number", torch.full((capacity,), _NONE))
        self.register_buffer("score", torch.zeros(capacity))
        self.register_buffer("played", torch.zeros(capacity, dtype=torch.int64))

    @property
    def kept(self) -> int:
        """The number of tasks that are kept now; they come first."""
        return int((self.number != _NONE).sum())

    def chances(self, update: int) -> Float[Tensor, " kept"]:
        """The chance of each kept task to be the first one replayed in ``update``."""
        kept = self.kept
        rank = self.score[:kept].argsort(descending=True, stable=True).argsort() + 1
        by_score = rank.double() ** (-1 / TEMPERATURE)
        stale = (update - self.played[:kept]).double()
        if not stale.any():
            stale = torch.ones_like(stale)
        return (1 - STALENESS) * by_score / by_score.sum() + STALENESS * stale / stale.sum()

    def draw(
        self, new: Int[Tensor, " B"], share: float, update: int, noise: Rows
    ) -> Int[Tensor, " B"]:
        """The numbers of the tasks to play: ``new`` ones, or in a ``share`` of the trials kept ones.

        No kept task is played twice before all are (the order of chances over exponential noise is that of draws
        without replacement).

        Args:
            new: numbers of tasks from the training distribution.
            share: chance of a trial to replay, in [0, 1].
            update: number of the update.
            noise: a row for each trial.
        """
        if not self.kept or not len(new):
            return new
        rate = noise[:1].at("level").exponential(self.kept)[0].double()
        order = (self.chances(update) / rate).argsort(descending=True)
        replayed = noise.at("replay").uniform() < share
        place = (replayed.cumsum(0) - 1) % self.kept
        return torch.where(replayed, self.number[order[place]], new)

    def put(self, number: Int[Tensor, " B"], score: Float[Tensor, " B"], update: int) -> None:
        """Take in tasks that were just played; of a task that was played twice, the last score counts."""
        kept = self.kept
        numbers = torch.cat([self.number[:kept], number])
        scores = torch.cat([self.score[:kept], score])
        played = torch.cat([self.played[:kept], torch.full_like(number, update)])
        distinct, place = numbers.unique(return_inverse=True)
        last = torch.zeros_like(distinct).scatter_reduce_(
            0, place, torch.arange(len(numbers), device=number.device), "amax"
        )
        best = last[scores[last].argsort(descending=True, stable=True)][: len(self.number)]
        self.number[: len(best)] = numbers[best]
        self.score[: len(best)] = scores[best]
        self.played[: len(best)] = played[best]
