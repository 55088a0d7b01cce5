"""A claim: its statement, what it rests on, and what we predicted before any row of it was played."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from bridge.report.claims import AllOf, AnyOf, Effect, Evidence
from experiments.studies.measures import Measure, Need, Rows
from experiments.studies.named import Named
from experiments.studies.players import Player


class Criterion(ABC):
    """The test of a claim: numbers, bounds, and how they are combined."""

    @property
    @abstractmethod
    def needs(self) -> tuple[Need, ...]:
        """The players, and the splits that they have to play."""

    @property
    @abstractmethod
    def studies(self) -> frozenset[str]:
        """The names of other studies whose numbers it is about."""

    @abstractmethod
    def evidence(self, rows: Rows) -> Evidence:
        """Return the effects in the rows, and how they are combined."""


@dataclass(frozen=True)
class Beyond(Criterion):
    """A number lies beyond a bound: the smallest effect of interest."""

    measure: Measure
    bound: float
    side: Literal["above", "below"] = "above"

    @property
    def needs(self) -> tuple[Need, ...]:
        """Those of the measure."""
        return self.measure.needs

    @property
    def studies(self) -> frozenset[str]:
        """Those of the measure."""
        return self.measure.studies

    def evidence(self, rows: Rows) -> Effect:
        """Return the effect."""
        return Effect(str(self.measure), self.measure.read(rows), self.bound, self.side)


@dataclass(frozen=True)
class Several(Criterion):
    """Tests that all have to pass, or any."""

    parts: tuple[Criterion, ...]
    combined: type[AllOf | AnyOf]

    @property
    def needs(self) -> tuple[Need, ...]:
        """Those of all parts."""
        return tuple(need for part in self.parts for need in part.needs)

    @property
    def studies(self) -> frozenset[str]:
        """Those of all parts."""
        return frozenset().union(*(part.studies for part in self.parts))

    def evidence(self, rows: Rows) -> Evidence:
        """Return the effects of all parts."""
        return self.combined(tuple(part.evidence(rows) for part in self.parts))


def above(measure: Measure, bound: float) -> Beyond:
    """Return the test that a number is above a bound."""
    return Beyond(measure, bound)


def below(measure: Measure, bound: float) -> Beyond:
    """Return the test that a number is below a bound."""
    return Beyond(measure, bound, "below")


def all_of(*parts: Criterion) -> Several:
    """Return the test that all parts pass."""
    return Several(parts, AllOf)


def any_of(*parts: Criterion) -> Several:
    """Return the test that one of the parts passes."""
    return Several(parts, AnyOf)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim. Its file in ``sheet/`` gives it its name."""

    statement: str
    test: Criterion
    prediction: Literal["supported", "refuted"]
    """The expected verdict; it was committed before the first row of the claim."""
    because: str
    """Why we expected it."""
    known: str = ""
    """Earlier measurements of it, on fewer seeds or elsewhere; empty: none. With some, a prediction is no feat."""

    @property
    def promise(self) -> str:
        """The prediction and the bounds that it is about, in a line."""
        effects = self.test.evidence(_Nothing()).effects
        bounds = (f"{effect.name} {effect.side} {effect.bound:g}" for effect in effects)
        return f"{self.prediction}: {'; '.join(bounds)}"


class _Nothing:
    """No rows."""

    def of(self, player: Player) -> None:
        """Return no results."""

    def numbers(self, study: str) -> Named:
        """Return no numbers."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Choice(Claim):
    """The claim that one kind of method is the best in a setting."""

    setting: str
    """The setting, in words."""
    recommended: str
    """The kind."""
