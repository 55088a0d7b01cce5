"""The study: play what is missing, then print and draw all of it."""

from __future__ import annotations

from dataclasses import asdict

from bridge.tasks import family as make_family
from experiments import agents
from experiments.studies.arguments import play
from experiments.studies.prompts import figure, measures, tables
from experiments.studies.prompts.cells import BANDIT, FORMAT, Study


def run(study: Study) -> None:
    """Play what is missing of a study, then print its tables and draw its figure.

    Raises:
        UserError: no language model, no such run, a folder of another study, or a cell that failed.
    """
    cells = study.cells()
    for _, spec, _ in study.models(FORMAT)[
        :2
    ]:  # no model, or no such run: said before anything is played
        agents.load(spec, make_family(BANDIT), "id")
    about = {"version": 1, "family": make_family(BANDIT).hash, "run": study.run}
    play(cells, study.out, about | asdict(study.size))
    found = measures.read(cells)
    tables.write(found, study.out / "prompts.csv")
    drawn = figure.draw(found, study.out)
    tables.show(found)
    print(f"\nDrawn: {drawn}; every number with its interval: {study.out / 'prompts.csv'}")
