"""The other studies that claims are about: how each is played in the folder of claims, and where its numbers are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from bridge.evaluation.stats import Interval
from bridge.files import write_text
from experiments.studies import named
from experiments.studies.attribution.study import Study as Attribution
from experiments.studies.concerns import study as concerns
from experiments.studies.concerns.mitigations import PLAIN
from experiments.studies.detection.study import Study as Detection
from experiments.studies.history_study import HistoryStudy
from experiments.studies.mirror.study import Study as Mirror
from experiments.studies.named import Named


class Other(Protocol):
    """Another study."""

    def check(self) -> None:
        """Refuse what would fail after hours.

        Raises:
            UserError: such as a missing package.
        """
        ...

    def play(self) -> None:
        """Play what is missing.

        Raises:
            UserError: a folder of something else, or a cell failed.
        """
        ...

    def numbers(self) -> Named:
        """Return its numbers; none unless it was played."""
        ...


@dataclass(frozen=True)
class Concerns:
    """``metabridge concerns``: what each mitigation adds to plain training at the top of its testbed's dial."""

    study: concerns.Study

    def check(self) -> None:
        self.study.check()

    def play(self) -> None:
        found, _ = self.study.run()
        entries = {(e.testbed, e.row.name): e for e in found.entries if e.value == e.testbed.top}
        gains: dict[tuple[str, ...], Interval | None] = {
            (testbed.name, name): found.gain(entry, entries[testbed, PLAIN.name])
            for (testbed, name), entry in entries.items()
        }
        known = {name: gain for name, gain in gains.items() if gain is not None}
        write_text(self._csv, named.comma_separated(("testbed", "mitigation"), known))

    def numbers(self) -> Named:
        return named.read(self._csv) if self._csv.exists() else {}

    @property
    def _csv(self) -> Path:
        return self.study.out / "gains.csv"


@dataclass(frozen=True)
class OnHistories:
    """A study on bandit histories, whose numbers are those that it has written."""

    study: HistoryStudy

    def check(self) -> None:
        self.study.check()

    def play(self) -> None:
        if not self.study.is_current:
            self.study.run()

    def numbers(self) -> Named:
        return named.read(self.study.csv) if self.study.is_written else {}


def others(out: Path, *, size_of_concerns: str, size_of_histories: str) -> Mapping[str, Other]:
    """Return the other studies by name, in a folder of claims; without those whose size is empty.

    Studies on histories share the runs of the claims.
    """
    found: dict[str, Other] = {}
    if size_of_concerns:
        size = replace(concerns.SIZES[size_of_concerns], measures=False)
        found["concerns"] = Concerns(concerns.Study(size, out / "concerns"))
    if size_of_histories:
        for kind in (Mirror, Attribution, Detection):
            found[kind.name] = OnHistories(kind.on("bandit", out, size=size_of_histories))
    return found
