"""``metabridge report``: tables and figures beside the rows that they derive from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from bridge.errors import UserError
from experiments.commands.common import one_thread
from experiments.terminal import console


@dataclass(frozen=True, kw_only=True)
class Report:
    """Tables (terminal, Markdown, CSV) and figures (PNG, SVG) of a results folder.

    For example: metabridge report results/smoke
    """

    folder: Positional[Path]

    def run(self) -> int:
        """Write and print the report."""
        report(self.folder)
        return 0


def report(folder: Path) -> None:
    """Write tables/results.md, tables/results.csv and figures/*.{png,svg}, then print the side-by-side tables."""
    from bridge import files
    from bridge.report import figures, tables
    from bridge.report.summary import Results
    from experiments import agents

    one_thread()
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Run: metabridge compare --out {folder}")
    read = Results(folder)
    lines = [line for table in read.tables for line in read.lines(*table)]
    files.write_text(folder / "tables" / "results.md", tables.markdown(read))
    files.write_text(folder / "tables" / "results.csv", tables.comma_separated(lines))
    drawn = figures.draw(read, folder / "figures", agents.names())
    out = console()
    for family, split, track in read.tables:
        if split == "id" or split.endswith("/4"):
            out.print(tables.terminal(read, family, split, track, wide=out.width >= 110))
    for sentence in (*tables.refusals(lines), *tables.skewed(lines)):
        out.print(sentence, soft_wrap=True)
    out.print(
        f"{tables.LEGEND} Shown: id and level 4 of each axis. All {len(lines):,} numbers: "
        f"{folder}/tables/results.md and .csv; {len(drawn)} figures (PNG, SVG): {folder}/figures/",
        soft_wrap=True,
    )
