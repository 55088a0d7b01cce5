"""``metabridge report``: tables and figures beside the rows that they derive from."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bridge import files
from bridge.errors import UserError
from bridge.report import figures, tables
from bridge.report.summary import Results


def report(folder: Path) -> None:
    """Print the side-by-side tables; write tables/results.md, tables/results.csv and figures/*.{png,svg}."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Run: metabridge compare --out {folder}")
    read = Results(folder)
    console = Console()
    for family in read.families:
        for split in read.splits(family):
            if split == "id" or split.endswith("/4"):
                console.print(tables.terminal(read, family, split, wide=console.width >= 110), highlight=False)
    lines = [line for family in read.families for split in read.splits(family) for line in read.lines(family, split)]
    for sentence in (*tables.refusals(lines), *tables.skewed(lines)):
        console.print(sentence, highlight=False, soft_wrap=True)
    files.write_text(folder / "tables" / "results.md", tables.markdown(read))
    files.write_text(folder / "tables" / "results.csv", tables.comma_separated(lines))
    drawn = figures.draw(read, folder / "figures")
    console.print(
        f"{tables.LEGEND} Shown: id and level 4 of each axis. All {len(lines):,} numbers: "
        f"{folder}/tables/results.md and .csv; {len(drawn)} figures (PNG, SVG): {folder}/figures/",
        highlight=False,
        soft_wrap=True,
    )
