"""The command: play what is missing, then print and draw all of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from bridge.errors import UserError
from bridge.evaluation.footprint import parse_memory
from bridge.files import write_text
from bridge.json_files import read_object
from bridge.tasks import family as make_family
from bridge.training import run_folder
from experiments import training
from experiments.compare import expand_splits
from experiments.studies import few_shot
from experiments.studies.arguments import arguments, run
from experiments.studies.few_shot import figure, tables
from experiments.studies.few_shot.cells import BUDGETS, RATES, Cell, cells, play
from experiments.studies.few_shot.curves import Curve, read


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
    splits = tuple(
        expand_splits(family, tuple(asked.splits.split(",")), shown=asked.signal == "demos")
    )
    memory = parse_memory(asked.memory)
    asked.out.mkdir(parents=True, exist_ok=True)
    about = {
        "version": 2,
        "family": family.hash,
        "shots": asked.shots,
        "trials": asked.trials,
        "rates": RATES,
    }
    _take(asked.out, about)
    found: dict[Cell, Curve] = {}
    counted: dict[tuple[Any, ...], np.ndarray] = {}
    for cell in list(
        cells(asked.runs, family, splits, asked.signal, tuple(asked.tuned), tuple(asked.budgets))
    ):
        configured = training.configuration(cell.run, run_folder.read_config(cell.run))
        alike = (configured, cell.method, cell.way, cell.steps, family.trial(cell.split))
        path = play(
            cell,
            family,
            shots=asked.shots,
            trials=asked.trials,
            out=asked.out,
            flops=counted.get(alike),
            memory=memory,
        )
        found[cell] = read(path)
        counted.setdefault(alike, found[cell].flops)
    tables.write(found, asked.out / "curves.csv")
    drawn = figure.draw(found, asked.out)
    tables.show(found)
    tables.show_claim(found)
    print(f"\nDrawn: {drawn}; every point with its costs: {asked.out / 'curves.csv'}")


def _take(out: Path, about: dict[str, Any]) -> None:
    """Take a folder for this study; it holds the cells of one."""
    path = out / "study.json"
    remedy = "Choose another --out, or remove it with the files beside it."
    if path.exists() and (held := read_object(path, remedy)) != about:
        raise UserError(f"{out} holds another study: {held}, not {about}. Choose another --out.")
    write_text(path, json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
