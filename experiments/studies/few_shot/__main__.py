"""The command: play what is missing, then print and draw all of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from bridge.errors import UserError
from bridge.tasks import family as make_family
from experiments.cells import expand_splits
from experiments.studies import few_shot
from experiments.studies.arguments import arguments, play, run, study_of
from experiments.studies.few_shot import figure, tables
from experiments.studies.few_shot.curves import read
from experiments.studies.few_shot.variants import BUDGETS, RATES


def main() -> None:
    """Play what is missing, then print and draw."""
    parser = arguments(few_shot.__doc__)
    parser.add_argument("--splits", default="id", help="names or patterns, joined by commas")
    parser.add_argument("--signal", choices=("reward", "demos"), default="reward")
    parser.add_argument("--budgets", nargs="+", type=int, default=BUDGETS, help="gradient steps")
    parser.add_argument("--out", type=Path, required=True)
    run("few_shot", _study, parser)


def _study(asked: argparse.Namespace) -> None:
    family = make_family(asked.family)
    if not 1 <= asked.shots <= (most := family.trial("id").episodes):
        raise UserError(
            f"--shots is 1 to {most}, the episodes of a trial of {family.id}; found {asked.shots}."
        )
    if asked.trials < 2 or min(asked.budgets) < 0:
        raise UserError(
            f"--trials is 2 or more and --budgets 0 or more; found {asked.trials} and {asked.budgets}."
        )
    splits = expand_splits(family, asked.splits.split(","), with_context=asked.signal == "demos")
    study = study_of(asked, family, splits, asked.out, signal=asked.signal, budgets=asked.budgets)
    cells = study.cells()
    about = {"family": family.hash, "shots": asked.shots, "trials": asked.trials, "rates": RATES}
    play(cells, asked.out, {"version": 3} | about)
    curves = read(cells)
    tables.write(curves, asked.out / "curves.csv")
    drawn = figure.draw(curves, asked.out)
    tables.show(curves)
    tables.show_claim(curves)
    print(f"\nDrawn: {drawn}; every point with its costs: {asked.out / 'curves.csv'}")


if __name__ == "__main__":
    main()
