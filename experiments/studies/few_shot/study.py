"""The study: play what is missing, then print and draw all of it."""

from __future__ import annotations

from experiments.studies.arguments import play
from experiments.studies.few_shot import figure, tables
from experiments.studies.few_shot.curves import read
from experiments.studies.few_shot.variants import RATES, Study


def run(study: Study) -> None:
    """Play what is missing of a study, then print its tables and draw its figure.

    Raises:
        UserError: a run that cannot be played or tuned, a folder of another study, or a cell that failed.
    """
    cells = study.cells()
    about = {"family": study.family.hash, "shots": study.shots, "trials": study.trials}
    play(cells, study.out, {"version": 3, "rates": RATES} | about)
    curves = read(cells)
    tables.write(curves, study.out / "curves.csv")
    drawn = figure.draw(curves, study.out)
    tables.show(curves)
    tables.show_claim(curves)
    print(f"\nDrawn: {drawn}; every point with its costs: {study.out / 'curves.csv'}")
