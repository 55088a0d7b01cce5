"""The study: play what is missing, then print and draw all of it."""

from __future__ import annotations

import json
from dataclasses import asdict

from bridge.tasks import family as make_family
from experiments import agents
from experiments.studies.arguments import play
from experiments.studies.prompts import figure, measures, tables
from experiments.studies.prompts.cells import BANDIT, FORMAT, Study
from llm_adapt.prompts.formats import named


def run(study: Study) -> None:
    """Play what is missing of a study, then print its tables and draw its figure.

    Raises:
        UserError: no language model, no such run, a folder of another study, or a cell that failed.
    """
    bandit = make_family(BANDIT)
    specs = [spec for _, spec, _ in study.models(FORMAT)]
    for spec in specs:  # errors come before anything is played
        agents.load(spec, bandit, "id")
    cells = study.cells()
    about = {
        "version": 1,
        "family": bandit.hash,
        "description": bandit.describe(),
        "formats": [named(name).id for name in study.size.formats],
        "run": study.run,
        "size": asdict(study.size),
    }
    play(cells, study.out, json.loads(json.dumps(about)))
    found = measures.read(cells)
    tables.write(found, study.out / "prompts.csv")
    drawn = figure.draw(found, study.out)
    tables.show(found)
    print(f"\nDrawn: {drawn}; every number with its interval: {study.out / 'prompts.csv'}")
