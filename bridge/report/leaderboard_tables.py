"""The leaderboard for a terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from bridge.evaluation.stats import Interval
from bridge.report import escape
from bridge.report.fold import fold
from bridge.report.leaderboard import Board, Cell, Column, Row
from bridge.report.tables import SPECIALISTS, mark, number
from bridge.words import counted

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

Notes = Mapping[str, str]
"""What else a reader should know of a method, by its name: ``undertrained on gridnavi``."""
_NOTED = "^"
"""The mark of a method that has a note."""
_FEWER = "*"
"""The mark of a mean over fewer families than its column has."""
_ADAPTS = {"context": "c", "gradient": "g", "context, gradient": "cg", "nothing": "-"}
"""Marks for how a method adapts within a trial."""
_RANKS = 6
"""The most families whose ranks are listed; of more, the mean rank is given."""
_TENTH = 10
"""The first place that is shown as ``+``."""
_OF_WIDTH = 4
"""Names are folded into a quarter of the width, and no further; then columns of scores are left out."""

MARKS = (
    "Mark: trained on r rewards (rt: with the task in the critic), h histories, a optimal actions; I given its task's "
    "index. Then what adapts it within a trial: c the context it reads, g gradient steps, - nothing. References: = "
    "exact, ≈ nearly exact, p given the task distribution."
)
"""The meaning of the marks."""

Grid = list[list[str]]
"""Cells by row, the heading first: the method, its scores, its ranks, its mark. A cell may have several lines."""


def title(board: Board) -> str:
    """The heading of a board."""
    what = "return on id, by family"
    if board.ceiling:
        where = ["id"] if board.columns[0].level is None else []
        if board.columns[-1].level is not None:
            at = "at their strongest level" if board.level is None else f"at level {board.level}"
            where.append(f"axes {at}")
        what = f"score (0 random, 1 {board.ceiling}) on {' and '.join(where)}"
    fewest, most = board.episodes
    episodes = f"{fewest} to {most}" if fewest < most else str(most)
    episodes += f" episode{'s' * (most > 1)}"
    track = {
        "O": "Leaderboard",
        "C": f"Track C ({episodes} shown)",
        "F": f"Track F ({episodes} explored)",
    }
    return f"{track[board.track]}: {what}"


def legend(boards: list[Board], notes: Notes | None = None) -> list[str]:
    """The meaning of cells, ranks and marks, a paragraph each; then what is missing, and the notes."""
    if not boards:
        return ["There is no leaderboard: neither id nor scores (random and oracle) were played."]
    said = (_meaning_of_cells(boards), _meaning_of_ranks(boards), MARKS, _single_seeds(boards))
    return [
        *filter(None, (*said, _unscored(boards), _without_optimum(boards))),
        *(f"{_NOTED} {method}: {note}." for method, note in (notes or {}).items()),
    ]


def _without_optimum(boards: list[Board]) -> str:
    return SPECIALISTS if any("specialists" in board.ceiling for board in boards) else ""


def _meaning_of_cells(boards: list[Board]) -> str:
    scored = [board for board in boards if board.ceiling and len(board.families) > 1]
    if not scored:
        return "Cells: ± half of a 95% interval."
    families: dict[str, dict[str, str]] = {}
    for board in scored:
        for column in board.columns:
            fewer = len(column.splits) < len(board.families)
            names = ", ".join(board.families[family] for family in column.splits if fewer)
            families.setdefault(column.name, {})[board.track] = names
    said = "Cells: mean over the n families that have the axis ± half of a 95% interval"
    for column, names in families.items():
        said += "".join(f"; {column}{on}: {text}" for on, text in _on_tracks(names) if text)
    rows = [row for board in scored for row in (*board.learned, *board.references)]
    if not all(cell.complete for row in rows for cell in row.cells if cell.by_family):
        said += f". {_FEWER} is over fewer of them, so not comparable"
    return f"{said}."


def _meaning_of_ranks(boards: list[Board]) -> str:
    ranked = [board for board in boards if any(row.ranks for row in board.learned)]
    if not ranked:
        return ""
    said = "Rank: place among learned methods on id"
    for on, order in _on_tracks({board.track: _order(board) for board in ranked}):
        said += f";{on} {order}" if on else f", {order}" if len(ranked[0].families) > 1 else ""
    single = [board for board in ranked if len(board.families) <= _RANKS]
    places = [place for board in single for row in board.learned for place in row.ranks.values()]
    return f"{said}{'; + is tenth or worse' * (max(places, default=0) >= _TENTH)}."


def _order(board: Board) -> str:
    """The order of ranks by family."""
    if len(board.families) > _RANKS:
        return "mean over families"
    return f"by family ({', '.join(board.families.values())})"


def _on_tracks(texts: dict[str, str]) -> list[tuple[str, str]]:
    """Texts by track as pairs of `` on track C`` and a text; if all are alike, one pair without a track."""
    if len(set(texts.values())) == 1:
        return [("", next(iter(texts.values())))]
    return [(f" on track {track}", text) for track, text in texts.items()]


def _single_seeds(boards: list[Board]) -> str:
    """The numbers of learned methods with intervals over trials of one run: on all families, and on some."""
    seeds = {row.method: row.seeds.values() for board in boards for row in board.learned}
    everywhere = sum(max(by_family) == 1 for by_family in seeds.values())
    somewhere = sum(min(by_family) == 1 for by_family in seeds.values()) - everywhere
    if not everywhere + somewhere:
        return ""
    said = [str(everywhere)] if everywhere else []
    said += [f"{somewhere} on some families"] if somewhere else []
    return (
        f"With one training seed: {' and '.join(said)}, of {counted(len(seeds), 'learned method')}. Their ± is for new "
        "trials of that run, not for new runs."
    )


def _unscored(boards: list[Board]) -> str:
    """The families that are left out of boards of scores."""
    names = {board.track: ", ".join(board.unscored) for board in boards}
    left_out = [f"{text}{on}" for on, text in _on_tracks(names) if text]
    if not left_out:
        return ""
    return (
        f"Left out, as they have no scores: {'; '.join(left_out)}. Scores need random play, and an oracle that earns "
        "more (or specialists, docs/gymnasium.md)."
    )


def grid(board: Board, notes: Notes) -> Grid:
    """The whole leaderboard: learned methods, then references."""
    names = [_heading(board, column) for column in board.columns]
    rows = [
        [
            escape.one_line(row.method) + _NOTED * (row.method in notes),
            *(_cell(cell, scores=bool(board.ceiling)) for cell in row.cells),
            _ranks(row, board),
            _mark(row),
        ]
        for row in (*board.learned, *board.references)
    ]
    return [["method", *names, "rank" if board.learned else "", "mark"], *rows]


def _heading(board: Board, column: Column) -> str:
    """The name of a column, its level unless all have it, and the number of its families if there are several."""
    level = "" if column.level is None or board.level is not None else f"/{column.level}"
    several = board.ceiling and len(board.families) > 1
    return f"{column.name}{level}" + (f"\nn={len(column.splits)}" if several else "")


def compact(interval: Interval) -> str:
    """A score and half of its interval, in two decimals: ``.97±.01``, ``-1.53±.12``."""
    half = "" if math.isnan(interval.half) else f"±{_decimals(interval.half)}"
    return _decimals(interval.mean) + half


def _decimals(value: float) -> str:
    """Two decimals without a leading zero; none of 10 and more."""
    text = f"{value:.2f}" if abs(value) < 9.995 else f"{value:.0f}"
    return ".00" if float(text) == 0 else re.sub(r"^(-?)0\.", r"\1.", text)


def _cell(cell: Cell, *, scores: bool) -> str:
    if cell.mean is None:
        return "-"
    text = compact(cell.mean) if scores else number(cell.mean)
    return text if cell.complete else f"{_FEWER}{text}"


def _ranks(row: Row, board: Board) -> str:
    """``1 3 2 1``; ``+`` for tenth and worse, ``-`` for a family that the method does not play."""
    places = list(row.ranks.values())
    if len(board.families) > _RANKS and places:
        return f"{sum(places) / len(places):.1f}"
    shown = {f: "+" if place >= _TENTH else str(place) for f, place in row.ranks.items()}
    return " ".join(shown.get(family, "-") for family in board.families) if shown else ""


def _mark(row: Row) -> str:
    """``r/c``: what it was trained on or given, then how it adapts."""
    ways = _ADAPTS.get(row.about["adapts"])
    return mark(row.about) + (f"/{ways}" if ways else "")


# --- terminal ------------------------------------------------------------------------------------------------------


def terminal(board: Board, width: int, notes: Notes | None = None) -> Group:
    """The leaderboard in at most ``width`` characters, as spacious as they allow, below its title.

    If they are few, headings and names are folded, then columns are left out from the right.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table

    gap, (heading, *rows) = _fitted(board, width, notes or {})
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0))
    for place, name in enumerate(heading):
        side = "right" if 0 < place < len(heading) - 2 else "left"
        table.add_column(_text(name), justify=side, no_wrap=True)
    for place, row in enumerate(rows):
        if place == len(board.learned):
            table.add_section()
        table.add_row(*map(_text, row))
    parts = [escape.terminal(title(board), "bold"), table]
    if left_out := ", ".join(column.name for column in board.columns[len(heading) - 3 :]):
        parts.append(escape.terminal(f"Not shown: {left_out}."))
    return Group(*parts)


def _text(cell: str) -> Text:
    """A cell of several lines for rich, in which brackets and colons are no markup."""
    from rich.text import Text

    return Text("\n").join(map(escape.terminal, cell.split("\n")))


def _fitted(board: Board, width: int, notes: Notes) -> tuple[int, Grid]:
    """The space between columns, and the most spacious grid that needs at most ``width`` characters."""
    whole = grid(board, notes)
    longest = max(len(row[0]) for row in whole)
    narrower = range(longest, min(longest, width // _OF_WIDTH) - 1, -1)
    ways = [(2, False, longest), (1, False, longest), *((1, True, name) for name in narrower)]
    for left_out in range(len(board.columns)):
        kept = [[*row[: len(row) - 2 - left_out], *row[-2:]] for row in whole]
        for gap, tight, name in ways:
            folded = _folded(kept, name, tight=tight)
            needed = sum(map(_width, zip(*folded, strict=True))) + gap * (len(folded[0]) - 1)
            if needed <= width:
                return gap, folded
    return 1, folded


def _folded(rows: Grid, name: int, *, tight: bool) -> Grid:
    """The grid with names of at most ``name`` characters; if ``tight``, headings as narrow as what is below them."""
    heading, *below = rows
    heads = []
    for text, cells in zip(heading, zip(*below, strict=True), strict=True):
        words = max(map(len, re.split(r"(?<=[_/\n])", text)))
        heads.append(fold(text, _width(cells) if tight else max(_width(cells), words)))
    heads = [heading[0], *heads[1:-2], *heading[-2:]]
    return [heads, *([fold(row[0], name), *row[1:]] for row in below)]


def _width(cells: Iterable[str]) -> int:
    return max(len(line) for cell in cells for line in cell.split("\n"))


# --- files ---------------------------------------------------------------------------------------------------------


def markdown(boards: list[Board], findings: list[str], notes: Notes | None = None) -> str:
    """A Markdown page: the first board, the findings, the other boards, and the legend. No column is left out."""
    tables = [_section(board, notes or {}) for board in boards]
    paragraphs = (f"{escape.markdown(text)}\n" for text in findings)
    meaning = (f"{escape.markdown(text)}\n" for text in legend(boards, notes))
    return "\n".join(["# Results\n", *tables[:1], *paragraphs, *tables[1:], *meaning])


def _section(board: Board, notes: Notes) -> str:
    """A board as a section of a page."""
    heading, *rows = grid(board, notes)
    table = [f"| {' | '.join(map(escape.markdown, row))} |" for row in (heading, *rows)]
    table.insert(1, f"|---|{'---:|' * len(board.columns)}---|---|")
    return "\n".join([f"## {escape.markdown(title(board))}\n", *table, ""])


def comma_separated(boards: Iterable[Board]) -> str:
    """Every cell as CSV: the mean over families (its family is empty), then a line for each family.

    ``families`` and ``of`` are the numbers of families that the method plays and that the column has.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    about = ("seeds", "supervision", "clue", "adapts", "reference", "interval")
    numbers = ("mean", "low", "high", "families", "of", "rank")
    writer.writerow(["track", "method", "column", "split", "family", *numbers, *about])
    for board in boards:
        for row in (*board.learned, *board.references):
            writer.writerows(_records(board, row))
    return out.getvalue()


def _records(board: Board, row: Row) -> Iterator[list[str | int]]:
    """The lines of a method."""
    about = [row.about[name] for name in ("supervision", "clue", "adapts", "exact")]
    for column, cell in zip(board.columns, row.cells, strict=True):
        means = {"": cell.mean} if cell.mean and board.ceiling else {}
        for family, interval in (means | cell.by_family).items():
            families = [family] if family else list(cell.by_family)
            split = column.splits[families[0]]
            rank = row.ranks.get(family, "") if split == "id" else ""
            yield [
                *map(escape.comma_separated, (board.track, row.method, column.name, split, family)),
                *(repr(float(x)) for x in interval[:3]),
                *(len(families), len(column.splits), rank),
                min(row.seeds[family] for family in families),
                *about,
                interval.kind,
            ]
