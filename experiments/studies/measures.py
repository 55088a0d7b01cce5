"""Numbers that studies are about, each with the players that it needs and how it is read of their rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from bridge.evaluation.stats import Interval, seed_interval
from bridge.report.claims import COUNTED
from bridge.report.falls import difference
from bridge.report.summary import Key, Results
from experiments.studies.players import Player

Need = tuple[Player, str]
"""A player and a split."""


@runtime_checkable
class Rows(Protocol):
    """The rows that numbers are read of."""

    def of(self, player: Player) -> Results | None:
        """Return the results that a player is in; None if there are none."""
        ...


class Measure(ABC):
    """A number with an interval."""

    @property
    @abstractmethod
    def needs(self) -> tuple[Need, ...]:
        """The players, and the splits that they have to play."""

    @property
    def studies(self) -> frozenset[str]:
        """The names of other studies that it is a number of."""
        return frozenset()

    @abstractmethod
    def read(self, rows: Rows) -> Interval | None:
        """Return the number; None if rows are missing."""


@dataclass(frozen=True)
class _OfPlayer(Measure):
    """A number of one player on one split."""

    player: Player
    split: str = "id"

    @property
    def needs(self) -> tuple[Need, ...]:
        """Itself."""
        return ((self.player, self.split),)

    @property
    def key(self) -> Key:
        """The key of its rows."""
        return Key(self.player.family.id, self.split, self.player.name)

    def read(self, rows: Rows) -> Interval | None:
        """Return the number; None if rows are missing."""
        results = rows.of(self.player)
        return self._of(results) if results and self.key in results.about else None

    @abstractmethod
    def _of(self, results: Results) -> Interval | None:
        """The number in results that have its rows."""


class Score(_OfPlayer):
    """The score of a trial: 0 random play, 1 the oracle."""

    def _of(self, results: Results) -> Interval | None:
        return results.score(self.key)

    def __str__(self) -> str:
        return f"{self.player} on {self.player.on}, {self.split}"


class Gain(_OfPlayer):
    """How much more the last episode of a trial earns than the first, in units of score."""

    def _of(self, results: Results) -> Interval | None:
        return results.gain(self.key)

    def __str__(self) -> str:
        return f"{self.player} on {self.player.on}, last episode less first"


class Operations(_OfPlayer):
    """Floating-point operations of training for an environment step, of the first seed.

    Other seeds differ by skipped steps alone.
    """

    def _of(self, results: Results) -> Interval | None:
        about = results.about[self.key]
        if not about["train_flops"]:
            return None
        each = about["train_flops"] / about["train_env_steps"]
        return Interval(each, each, each, about["seeds"], COUNTED)


@dataclass(frozen=True)
class _OfTwo(Measure):
    """A number made of two others."""

    one: Measure
    other: Measure

    @property
    def needs(self) -> tuple[Need, ...]:
        """Those of both."""
        return self.one.needs + self.other.needs

    @property
    def studies(self) -> frozenset[str]:
        """Those of both."""
        return self.one.studies | self.other.studies


@dataclass(frozen=True)
class Ratio(_OfTwo):
    """One counted number over another."""

    one: Operations
    other: Operations

    def read(self, rows: Rows) -> Interval | None:
        """Return the ratio."""
        one, other = self.one.read(rows), self.other.read(rows)
        if one is None or other is None:
            return None
        ratio = one.mean / other.mean
        return Interval(ratio, ratio, ratio, min(one.n, other.n), COUNTED)

    def __str__(self) -> str:
        return f"operations of {self.one.player} over those of {self.other.player}"


@dataclass(frozen=True)
class Less(_OfTwo):
    """One number less a share of another.

    Two scores of the same runs are paired by training seed, scores on the same tasks by task and noise; all others are
    independent.
    """

    share: float = 1.0

    def read(self, rows: Rows) -> Interval | None:
        """Return the difference."""
        one, other = self.one.read(rows), self.other.read(rows)
        if one is None or other is None:
            return None
        if isinstance(self.one, Score) and isinstance(self.other, Score):
            paired = self._of_seeds(rows, self.one, self.other)
            paired = paired or self._on_tasks(rows, self.one, self.other)
            if paired:
                return paired
        ends = (self.share * end for end in other[:3])
        return difference(one, Interval(*ends, other.n, other.kind))

    def _of_seeds(self, rows: Rows, one: Score, other: Score) -> Interval | None:
        """The difference by training seed; None unless both are of the same runs, on different splits."""
        if one.player.base != other.player.base or one.split == other.split:
            return None
        scores = [_seed_scores(rows, score) for score in (one, other)]
        seeds = sorted(set(scores[0]) & set(scores[1]))
        if len(seeds) < 2:
            return None
        ours, theirs = (np.array([each[seed] for seed in seeds]) for each in scores)
        return seed_interval(ours - self.share * theirs)

    def _on_tasks(self, rows: Rows, one: Score, other: Score) -> Interval | None:
        """The difference by task; None unless both are played on the same split of a family."""
        results, same = rows.of(one.player), one.player.family == other.player.family
        if results is None or not same or one.split != other.split or self.share != 1:
            return None
        return results.score_difference(one.key, other.player.name)

    def __str__(self) -> str:
        share = f"{self.share:g} x " * (self.share != 1)
        return f"{self.one} less {share}{self.other}"


def _seed_scores(rows: Rows, score: Score) -> dict[int, float]:
    """The score of each training seed."""
    results = rows.of(score.player)
    found = results.seed_scores(score.key) if results else None
    return found or {}
