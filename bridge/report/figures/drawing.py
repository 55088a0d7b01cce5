"""What all figures share: style, lines with bands, a legend by kind, and files in three formats."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.evaluation.stats import Interval
from bridge.files import write_bytes
from bridge.report import escape
from bridge.report.figures.looks import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.2
"""Width of every figure in inches, that of a page: figures are printed without scaling."""
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "svg.hashsalt": "metabridge",
    "pdf.fonttype": 42,
}
"""Fonts of 7 to 9 points; TrueType in PDF, as publishers ask for."""
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"dpi": 200},
    "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None}},
}
"""Formats of a figure's files, with what matplotlib needs to know to write the same bytes each time."""
_MARK = " †"
_NOTE = "† undertrained: the second half of training brought more than a tenth of what was learned"
_LABEL = 40
"""The longest method name in a legend, in characters."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A method as figures show it."""

    name: str
    look: Look
    kind: str = ""
    """Heading of its group in legends."""
    reference: bool = False
    """True for references, which are drawn thin."""
    undertrained: bool = False
    """True if its learning curve still rose when training ended."""

    @property
    def label(self) -> str:
        """Its name in legends; the end of a long name is replaced by a digest, which no other name has."""
        name = self.name
        if len(name) > _LABEL:
            name = f"{name[:_LABEL]}… {hashlib.sha256(name.encode()).hexdigest()[:6]}"
        return escape.figure(name + _MARK * self.undertrained)

    @property
    def line(self) -> dict[str, Any]:
        """Its line, as matplotlib's keyword arguments: heavy for learned methods, thin and above these for references,
        so that neither hides the other."""
        if self.reference:
            return self.look | {"lw": 0.9, "ms": 4, "mew": 0.8, "zorder": 4}
        return self.look | {"lw": 2.0, "ms": 4.5, "mew": 0.8, "zorder": 3}


@contextmanager
def style() -> Generator[None]:
    """A context in which figures are made and saved."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def title(figure: Figure, *lines: str, cast: Iterable[Drawn]) -> None:
    """Set the title of a figure; a last line explains the mark of undertrained methods, if some are drawn."""
    note = [_NOTE] if any(drawn.undertrained for drawn in cast) else []
    figure.suptitle("\n".join(map(escape.figure, [*lines, *note])))


def band(
    panel: Axes,
    x: Sequence[float | int],
    intervals: Sequence[Interval],
    drawn: Drawn,
    *,
    unit: int | Sequence[int] = 1,
) -> None:
    """Draw means over ``x`` with a band from the low to the high end, all divided by ``unit``.

    A single mean is drawn as a marker on a bar, since neither its line nor its band would be seen.
    """
    ends = np.array([(interval.mean, interval.low, interval.high) for interval in intervals])
    mean, low, high = ends.T / unit
    line = drawn.line
    if len(mean) == 1:
        line["marker"] = line["marker"] or "_"
        panel.vlines(x, low, high, color=line["color"], lw=line["lw"], alpha=0.5, zorder=1)
    panel.plot(x, mean, label=drawn.label, **line)
    alpha = 0.08 if drawn.reference else 0.12
    panel.fill_between(x, low, high, color=drawn.look["color"], alpha=alpha, lw=0, zorder=1)


def level(draw: Callable[..., Any], at: float, drawn: Drawn) -> None:
    """Draw what a method earns as a line across a panel; ``draw`` is the panel's ``axhline`` or ``axvline``."""
    draw(at, label=drawn.label, clip_on=False, **drawn.line)


def grid(panels: int, most: int) -> tuple[int, int]:
    """Rows and columns of panels, with at most ``most`` in a row and rows of about equal length."""
    rows = math.ceil(panels / most)
    return rows, math.ceil(panels / rows)


def logarithmic(values: Collection[float | int]) -> bool:
    """True if values belong on a logarithmic axis: all are positive, and they span a decade or more."""
    return 0 < 10 * min(values) <= max(values)


def legend(figure: Figure, cast: Iterable[Drawn]) -> None:
    """Add one legend of all panels below them, by kind; the figure grows by it, so that panels keep their size."""
    handles: dict[str, Any] = {}
    for panel in figure.axes:
        found, labels = panel.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
    kinds: dict[str, list[str]] = {}
    for drawn in cast:
        if drawn.label in handles:
            kinds.setdefault(drawn.kind, []).append(drawn.label)
    if not kinds:
        return
    groups = [
        [(_Text(), kind)] * bool(kind) + [(handles[label], label) for label in labels]
        for kind, labels in kinds.items()
    ]
    column = max(0.6 + 0.056 * max(map(len, handles)), 0.2 + 0.064 * max(map(len, kinds)))
    columns = _packed(groups, max(1, int(figure.get_figwidth() / column)))
    rows = max(map(len, columns))
    entries = [
        entry for column in columns for entry in column + [(_Text(), "")] * (rows - len(column))
    ]
    made = figure.legend(
        *zip(*entries, strict=True),
        loc="outside lower center",
        ncols=len(columns),
        frameon=False,
        handlelength=3.6,
        columnspacing=1.6,
        handler_map={_Text: _NoHandle()},
    )
    for text, (handle, _) in zip(made.get_texts(), entries, strict=True):
        text.set_fontweight("bold" if isinstance(handle, _Text) else "normal")
    figure.set_figheight(figure.get_figheight() + 0.2 + 0.15 * rows)


def _packed(groups: list[list[Any]], most: int) -> list[list[Any]]:
    """Groups in at most ``most`` columns, as short as possible. Columns hold whole groups, or parts of a long one."""
    rows, columns = 0, [[]] * (most + 1)
    while len(columns) > most:
        rows, columns, whole = rows + 1, [], False
        for group in groups:
            if whole and len(columns[-1]) + len(group) <= rows:
                columns[-1] = columns[-1] + group
            else:
                columns += [group[start : start + rows] for start in range(0, len(group), rows)]
                whole = len(group) <= rows
    return columns


class _Text:
    """An entry of a legend that is text alone."""


class _NoHandle:
    """Draws the handle of such an entry: nothing, which takes no room."""

    def legend_artist(self, _legend: Any, _handle: Any, _fontsize: Any, handlebox: Any) -> None:
        handlebox.set_visible(False)


def save(figure: Figure, stem: Path) -> Path:
    """Write a figure as PNG, SVG and PDF, the same bytes each time; returns the path of the PNG."""
    figure.draw_without_rendering()
    figure.set_layout_engine(None)  # it is laid out, once for all formats
    for suffix, about in FORMATS.items():
        drawn = io.BytesIO()  # writing to a full disk, Matplotlib hides the OSError of a PDF
        figure.savefig(drawn, format=suffix, **about)
        write_bytes(stem.with_name(f"{stem.name}.{suffix}"), drawn.getvalue())
    return stem.with_name(f"{stem.name}.png")
