"""A study of the responses of methods to histories: it plays cells, and reports what is read of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from bridge.evaluation import results
from bridge.files import write_text
from experiments.cells import Cell, missing
from experiments.studies import named
from experiments.studies.histories import Histories, Size
from experiments.studies.named import Named


class Report(NamedTuple):
    """What a study found."""

    text: str
    """Its tables, as Markdown."""
    columns: Sequence[str]
    """What the parts of the names of ``numbers`` are."""
    numbers: Named
    drawn: Path
    """The path of its figure."""


@dataclass(frozen=True)
class HistoryStudy(ABC):
    """A study on some histories."""

    histories: Histories

    name: ClassVar[str]
    """The name of its rows' folder and of its files."""
    levels: ClassVar[tuple[int, ...]]
    """Levels of each axis."""
    sizes: ClassVar[dict[str, Size]]
    """By name."""

    @classmethod
    def on(
        cls,
        family: str,
        out: Path,
        *,
        size: str,
        axes: tuple[str, ...] = (),
        behaviour: str = "random",
    ) -> Self:
        """Return the study of one of its sizes, on a family by its name alone."""
        about: Any = {"axes": axes, "behaviour": behaviour, "levels": cls.levels}
        return cls(Histories(family=family, size=cls.sizes[size], study=cls.name, out=out, **about))

    @abstractmethod
    def cells(self) -> list[list[Cell]]:
        """Return lists of cells, each on runs that earlier lists train."""

    @abstractmethod
    def report(self) -> Report:
        """Return what was found; all cells have to be played."""

    def check(self) -> None:
        """Refuse what cannot be played.

        Raises:
            UserError: histories that cannot be played.
        """
        self.histories.check()

    def play(self) -> None:
        """Play what is missing.

        Raises:
            UserError: as ``check``; a folder of another study, or a cell failed.
        """
        self.check()
        self.histories.play(self.cells())

    def run(self) -> str:
        """Play what is missing, then write ``NAME.md``, ``NAME.csv`` and the figure; return the tables, and a line that
        names these files.

        Raises:
            UserError: as ``play``.
        """
        self.play()
        found, tables = self.report(), self.csv.with_suffix(".md")
        write_text(tables, found.text)
        write_text(self.csv, named.comma_separated(found.columns, found.numbers))
        return f"{found.text}\nWritten: {tables} and {self.csv}. Drawn: {found.drawn}"

    @property
    def csv(self) -> Path:
        """The path of the numbers."""
        return self.histories.out / f"{self.name}.csv"

    @property
    def is_written(self) -> bool:
        """True if the numbers are there, of these histories."""
        return self.csv.exists() and self.histories.are_there

    @property
    def is_current(self) -> bool:
        """True if nothing is left to play, and the numbers are of the rows as they are."""
        if not self.is_written or any(
            missing(cells, self.histories.rows) for cells in self.cells()
        ):
            return False
        written = self.csv.stat().st_mtime
        return all(path.stat().st_mtime <= written for path in results.files(self.histories.rows))
