"""The gain by a mitigation in ``metabridge concerns``, as a number that a claim can be about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bridge.evaluation.stats import Interval
from experiments.studies.measures import Measure, Need, Rows


@runtime_checkable
class Reliefs(Protocol):
    """Rows that have results of ``metabridge concerns``."""

    def mitigation(self, testbed: str, name: str) -> Interval | None:
        """Return what a mitigation adds to plain training on a testbed; None if it was not played."""
        ...


@dataclass(frozen=True)
class Relief(Measure):
    """The score with a mitigation less that of plain multi-task training, on a testbed of ``metabridge concerns``."""

    testbed: str
    mitigation: str

    @property
    def needs(self) -> tuple[Need, ...]:
        """None: another study plays them."""
        return ()

    def read(self, rows: Rows) -> Interval | None:
        """Return the gain in score."""
        assert isinstance(rows, Reliefs)
        return rows.mitigation(self.testbed, self.mitigation)

    def __str__(self) -> str:
        return f"{self.mitigation} less plain training on testbed {self.testbed}"
