"""``metabridge report``: the leaderboard and its findings first, then tables and figures, from the rows of a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from bridge.errors import UserError
from bridge.words import counted
from experiments.commands.common import one_thread
from experiments.terminal import console


@dataclass(frozen=True, kw_only=True)
class Report:
    """The leaderboard, its findings, tables (Markdown, CSV) and figures of a results folder.

    For example: metabridge report results/smoke
    """

    folder: Positional[Path]
    tables: bool = False
    """Print the table of every family, on id and at level 4 of each axis, too."""

    def run(self) -> int:
        """Write and print the report."""
        report(self.folder, all_tables=self.tables)
        return 0


def report(folder: Path, *, all_tables: bool = False) -> None:
    """Write ``tables/`` and ``figures/``, then print the leaderboard of each track and what it shows.

    Args:
        folder: the results folder.
        all_tables: True to print the tables of each family, too.
    """
    from bridge import files
    from bridge.report import figures, leaderboard_tables, tables
    from bridge.report.findings import findings
    from bridge.report.leaderboard import boards, still_learning
    from bridge.report.summary import Results
    from experiments import specs

    one_thread()
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Run: metabridge compare --out {folder}")
    read = Results(folder)
    lines = [line for table in read.tables for line in read.lines(*table)]
    shown = boards(read)
    found = findings(read, shown[0]) if shown else []
    notes = still_learning(read)
    for name, text in (
        (
            "results.md",
            f"{leaderboard_tables.markdown(shown, found, notes)}\n{tables.markdown(read)}",
        ),
        ("results.csv", tables.comma_separated(lines)),
        ("leaderboard.csv", leaderboard_tables.comma_separated(shown)),
    ):
        files.write_text(folder / "tables" / name, text)
    drawn = figures.draw(read, folder / "figures", specs.names())
    out = console()
    printed = [leaderboard_tables.terminal(board, out.width, notes) for board in shown]
    for block in (*printed[:1], *found, *printed[1:]):
        out.print(block)
        out.print()
    for paragraph in (
        *leaderboard_tables.legend(shown, notes),
        *tables.refusals(lines),
        *tables.skewed(lines),
    ):
        out.print(paragraph)
    if all_tables or not shown:
        some = [table for table in read.tables if table[1] == "id" or table[1].endswith("/4")]
        for table in some or read.tables:
            out.print(tables.terminal(read, *table, wide=out.width >= 110))
        out.print(f"{tables.LEGEND}{' Shown: id and level 4 of each axis.' if some else ''}")
    out.print(
        f"{folder}/tables/: leaderboard.csv; results.md and .csv with all {counted(len(lines), 'number')}. "
        f"{folder}/figures/: {counted(len(drawn), 'figure')} (PNG, SVG, PDF).",
        soft_wrap=True,
    )
