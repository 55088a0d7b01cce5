"""Forgetting: runs are tuned on shifted tasks, and then play training tasks with the weights that this left.

    python -m experiments.studies.forgetting --family bandit:k=5,n=20 --runs runs/* --splits shift/reward_sign/4

An agent explores a shifted task for so many episodes and takes gradient steps on what it has seen, as in
``experiments.studies.few_shot``. *There* is what that adds to the next episode, scored frozen. Then it begins a trial
on a training task, of which it knows nothing, and takes no more steps: *here* is what the weights of its own add to the
return of that trial. Beside them stand the returns without any steps. Tasks and noise are the same with and without.

Intervals are over tasks, for these very runs; runs that differ by their seeds alone are pooled. Cells are kept in OUT
(default: a temporary folder), and played once, until their run is trained further.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

from bridge.errors import UserError
from bridge.evaluation.plan import Plan
from bridge.report import escape
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from experiments import agents
from experiments.cells import Cell, expand_splits
from experiments.studies.arguments import arguments, play, run, study_of
from experiments.studies.few_shot.curves import Curve, read, text
from experiments.studies.few_shot.variants import RATES, Variant
from experiments.studies.markdown import table

HOME = "train"
"""The split of training tasks."""


def main() -> None:
    """Play and print."""
    parser = arguments(__doc__)
    parser.add_argument("--splits", required=True, help="names or patterns, joined by commas")
    parser.add_argument("--steps", type=int, default=20, help="gradient steps")
    parser.add_argument("--out", type=Path, help="a folder for the rows")
    run("forgetting", _study, parser)


def _study(asked: argparse.Namespace) -> None:
    family = make_family(asked.family)
    if min(asked.shots, asked.steps) < 1 or asked.trials < 2:
        raise UserError("--shots and --steps are 1 or more, and --trials 2 or more.")
    splits = expand_splits(family, asked.splits.split(","))
    with tempfile.TemporaryDirectory() as temporary:
        out = asked.out or Path(temporary)
        study = study_of(asked, family, splits, out, signal="reward", budgets=[asked.steps])
        there = _with_kept_weights(study.cells(), family)
        here = {split: _at_home(there, split, asked.trials) for split in splits}
        about = {"shots": asked.shots, "trials": asked.trials, "rates": RATES}
        every = dict.fromkeys([*there, *(cell for cells in here.values() for cell in cells)])
        play(every, out, {"version": 1, "family": family.hash} | about)
        away = read(there)
        for split in splits:
            _show(split, away[split], read(here[split], "trial_return")[HOME])


def _with_kept_weights(cells: dict[Cell, Variant], family: TaskFamily) -> dict[Cell, Variant]:
    """The cells of agents whose weights another trial can begin with, and of the same runs without gradient steps.

    Raises:
        UserError: there are none.
    """
    kept = {
        cell: variant
        for cell, variant in cells.items()
        if variant.steps and hasattr(agents.load(cell.spec, family, HOME), "afresh")
    }
    if not kept:
        raise UserError(
            "None of these runs is tuned by steps that could be kept: MAML begins every trial anew."
        )
    methods = {variant.method for variant in kept.values()}
    plain = {
        cell: variant
        for cell, variant in cells.items()
        if not variant.steps and variant.method in methods
    }
    return plain | kept


def _at_home(there: dict[Cell, Variant], split: str, trials: int) -> dict[Cell, Variant]:
    """The cells of training tasks, played by the same agents after they were tuned on tasks of ``split``."""
    found = {}
    for cell, variant in there.items():
        (plan,) = cell.plans
        if plan.split != split:
            continue
        home = dataclasses.replace(
            cell, plans=(Plan(split=HOME, trials=trials),), count_flops=False
        )
        if variant.steps:
            home = dataclasses.replace(home, method=f"{cell.method} after {split}", tuned_on=plan)
        found[home] = variant
    return found


def _show(split: str, there: dict[Variant, Curve], here: dict[Variant, Curve]) -> None:
    """Print a table, as Markdown."""
    print(
        f"\n**{split}** · without steps, and what they add: to the next episode there, to a training trial here\n"
    )
    rows = []
    for variant in (variant for variant in there if variant.steps):
        plain = variant._replace(way="", steps=0)
        numbers = []
        for curves in (there, here):
            without, tuned = (curves[which].score[:, -1] for which in (plain, variant))
            numbers += [text(without), text(tuned - without)]
        rows.append((escape.markdown(variant.method), variant.way, variant.steps, *numbers))
    heads = ("method", "tuned", "steps", "there", "added", "here", "added")
    print(table(heads, rows, texts=2))


if __name__ == "__main__":
    main()
