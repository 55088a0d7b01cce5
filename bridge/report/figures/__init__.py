"""Figures of a results folder: adaptation, shift, interquartile means, probabilities of improvement, and learning.

They are made for print: as wide as a page, as PNG, SVG and PDF, with seeds and n in their titles. There is one of each
for a family and a track, and one of learning for a family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.files import name_of
from bridge.report.figures import adaptation, improvement, iqm, learning, shift
from bridge.report.figures.drawing import save, style
from bridge.report.figures.looks import Look, looks
from bridge.report.figures.scene import scene
from bridge.report.summary import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OF_TRACK = {
    "curves": adaptation.draw,
    "shift": shift.draw,
    "iqm": iqm.draw,
    "improvement": improvement.draw,
}
"""Figures of a track, by the end of their files' names; each returns None if there are no results for it."""


def draw(results: Results, folder: Path, registered: Mapping[str, str] | None = None) -> list[Path]:
    """Draw every figure of a results folder as PNG, SVG and PDF; returns the PNG paths.

    Args:
        results: the results to draw.
        folder: the folder to write into.
        registered: the methods that the project knows, as ``looks`` reads them.
    """
    look = looks(registered or {}, {key.method for key in results.about})
    with style():
        return [
            save(figure, folder / f"{name_of(family)}-{name}")
            for family in results.families
            for name, figure in figures(results, family, look)
        ]


def figures(results: Results, family: str, look: dict[str, Look]) -> Iterator[tuple[str, Figure]]:
    """The figures of a family for which it has results, by the end of their files' names."""
    scenes = [scene(results, family, track, look) for track in results.tracks(family)]
    for of_track in scenes:
        for name, make in _OF_TRACK.items():
            if figure := make(of_track):
                yield name if of_track.track == "O" else f"{of_track.track}-{name}", figure
    if figure := learning.draw(scenes):
        yield "learning", figure
