"""``metabridge report``: tables and figures beside the rows that they derive from."""

from __future__ import annotations

from pathlib import Path

from bridge import files
from bridge.errors import UserError
from bridge.references.registry import REFERENCES
from bridge.report import figures, tables
from bridge.report.summary import Results
from experiments.registry import LEARNERS, TEST_TIME_METHODS, Learned
from experiments.terminal import console


def registered() -> list[str]:
    """Every method of the project, by the name that results have, in the order of the registries.

    A run that is fine-tuned at test is named after both methods: ``full_reward_rl2``.
    """
    bases = [name for name, method in LEARNERS.items() if isinstance(method, Learned)]
    at_test = [f"{way}_{base}" for way in TEST_TIME_METHODS for base in bases]
    return list(dict.fromkeys([*LEARNERS, *REFERENCES, *at_test]))


def report(folder: Path) -> None:
    """Write tables/results.md, tables/results.csv and figures/*.{png,svg}, then print the side-by-side tables."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Run: metabridge compare --out {folder}")
    read = Results(folder)
    lines = [
        line
        for family in read.families
        for split in read.splits(family)
        for line in read.lines(family, split)
    ]
    files.write_text(folder / "tables" / "results.md", tables.markdown(read))
    files.write_text(folder / "tables" / "results.csv", tables.comma_separated(lines))
    drawn = figures.draw(read, folder / "figures", registered())
    out = console()
    for family in read.families:
        for split in read.splits(family):
            if split == "id" or split.endswith("/4"):
                out.print(tables.terminal(read, family, split, wide=out.width >= 110))
    for sentence in (*tables.refusals(lines), *tables.skewed(lines)):
        out.print(sentence, soft_wrap=True)
    out.print(
        f"{tables.LEGEND} Shown: id and level 4 of each axis. All {len(lines):,} numbers: "
        f"{folder}/tables/results.md and .csv; {len(drawn)} figures (PNG, SVG): {folder}/figures/",
        soft_wrap=True,
    )
