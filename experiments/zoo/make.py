"""Trains the runs of the zoo again, measures them and writes them into the package.

    python -m experiments.zoo.make --out WORK [--only icl_rl/gridnavi]

Run folders and rows are kept in WORK, so that the same command goes on where it was stopped. A run joins the zoo if its
half-precision copy scores within a standard error of it on ``id``; its README.md holds both scores.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import shutil
import textwrap
from pathlib import Path

from bridge import config, files
from bridge.errors import UserError
from bridge.evaluation import results
from bridge.evaluation.plan import Plan
from bridge.evaluation.stats import Interval
from bridge.protocol import Card
from bridge.report.summary import Key, Results
from bridge.tasks import family as make_family
from bridge.training.budget import Budget
from bridge.training.run_folder import read_cost
from bridge.words import counted
from experiments import cells, model_card, runs, zoo
from experiments.cells import Cell
from experiments.studies.arguments import run
from experiments.version import checkout
from experiments.zoo.recipes import RECIPES, SEEDS, Recipe

TRIALS = {"bandit": 20_000, "gridnavi": 8_400, "darkroom": 2_000, "point_nav": 500}
"""Trials of ``id`` that a run is scored on, by the family's name."""
OF_LANGUAGE_MODELS = 1_000
"""The same for a language model."""


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder for run folders and rows")
    parser.add_argument("--only", default="*", help="METHOD/FAMILY, or a pattern of such")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="training seeds")
    run("zoo", _make, parser)


def _make(asked: argparse.Namespace) -> None:
    """Make what the arguments ask for.

    Raises:
        UserError: a training or an evaluation failed.
    """
    if failed := make(asked.out, asked.only, tuple(asked.seeds)):
        raise UserError(
            f"{counted(failed, 'cell')} failed; see {asked.out / 'errors.log'}. The same command tries them again."
        )


def make(out: Path, only: str = "*", seeds: tuple[int, ...] = SEEDS) -> int:
    """Train, export and score the recipes that match ``only``; return how many failed.

    Raises:
        UserError: none matches, or ``out`` holds other results.
    """
    entries = {
        _entry(recipe, seed): recipe
        for recipe in RECIPES
        for seed in seeds
        if fnmatch.fnmatch(f"{_name(recipe)}/{make_family(recipe.family).name}", only)
    }
    if not entries:
        raise UserError(f"No recipe of the zoo matches {only!r}. See experiments/zoo/recipes.py.")
    results.open_folder(out)
    with files.locked(out):
        whole = {entry: _cell(entry, recipe, out) for entry, recipe in entries.items()}
        for cell in whole.values():
            _note_origin(cell)
        failed = cells.play(cells.missing(whole.values(), out), out)
        done = {e: cell for e, cell in whole.items() if not cells.missing([cell], out)}
        half = {entry: _exported(entry, cell, out) for entry, cell in done.items()}
        failed += cells.play(cells.missing(half.values(), out), out)
    read = Results(out)
    for entry, cell in done.items():
        _describe(entry, cell, half[entry], read)
    return failed


def _name(recipe: Recipe) -> str:
    return config.split_spec(recipe.method)[0]


def _entry(recipe: Recipe, seed: int) -> zoo.Entry:
    return zoo.Entry(_name(recipe), make_family(recipe.family).name, seed)


def _cell(entry: zoo.Entry, recipe: Recipe, out: Path) -> Cell:
    """The training of an entry, and its trials."""
    family = make_family(recipe.family)
    folder = out / "runs" / entry.method / entry.family / str(entry.seed)
    training = runs.Run(
        method=recipe.method,
        family=family.id,
        seed=entry.seed,
        budget=Budget(float(recipe.steps), "steps"),
        out=folder,
        precision="bf16" if recipe.of_language_model else "no",
    )
    trials = OF_LANGUAGE_MODELS if recipe.of_language_model else TRIALS[family.name]
    plan = Plan(split="id", trials=trials)
    name = entry.spec.removeprefix(zoo.PREFIX)
    return Cell(family, recipe.method, name, entry.seed, (plan,), out, training=training)


def _note_origin(cell: Cell) -> None:
    """Keep the command and the commit of a training that begins now."""
    made = cell.training
    assert made is not None
    note = made.out.with_suffix(".json")
    if note.exists():
        return
    files.write_text(note, json.dumps({"command": made.command, "commit": _commit()}) + "\n")


def _commit() -> str:
    """The commit of this checkout; empty if it is none, or has changes."""
    found = checkout()
    return found.commit if found and not found.changed else ""


def _exported(entry: zoo.Entry, cell: Cell, out: Path) -> Cell:
    """The trials of the half-precision copy, which is written beside the runs if it is missing."""
    assert cell.training is not None
    copy = out / "exports" / entry.method / entry.family / str(entry.seed)
    if not copy.exists():
        origin = json.loads(cell.training.out.with_suffix(".json").read_text(encoding="utf-8"))
        runs.export(str(cell.training.out), copy, origin)
    return dataclasses.replace(
        cell, spec=str(copy), method=f"{cell.method} (float16)", training=None
    )


def _describe(entry: zoo.Entry, cell: Cell, half: Cell, read: Results) -> None:
    """Put the half-precision copy and its model card into the zoo, unless it is there.

    Raises:
        UserError: half precision costs more than a standard error.
    """
    assert cell.training is not None
    scores = {c.method: read.mean(Key(c.family.id, "id", c.method)) for c in (cell, half)}
    whole, copy = (scores[c.method] for c in (cell, half))
    assert whole is not None
    assert copy is not None
    error = (whole.high - whole.low) / 2 / 1.96
    if abs(copy.mean - whole.mean) > error:
        raise UserError(
            f"{entry.spec} earns {copy.mean:.4g} in half precision and {whole.mean:.4g} in full: more than the "
            f"standard error of {error:.2g} apart. It is left out of the zoo."
        )
    if entry.folder.exists():
        return
    card = _card(entry, cell, half.spec, whole, copy)

    def write(folder: Path) -> None:
        shutil.copytree(half.spec, folder, dirs_exist_ok=True)
        (folder / "README.md").write_text(card, encoding="utf-8")

    files.write_folder(entry.folder, write)


def _card(entry: zoo.Entry, cell: Cell, half: str, whole: Interval, copy: Interval) -> str:
    """The text of the model card of the half-precision copy in folder ``half``."""
    assert cell.training is not None
    cost = read_cost(cell.training.out, lambda _text: None)
    card = runs.load_agent(half, cell.family).card
    about = runs.read(half).about
    origin = about["exported"]
    steps = f"{cost.env_steps:,} environment steps, {cost.grad_steps:,} gradient steps"
    command = origin["command"].replace(" train ", " train \\\n      ")
    command = command.replace(" --family ", " \\\n      --family ")
    text = f"""# {entry.method} on {cell.family.id}, training seed {entry.seed}

| | |
|---|---|
| weights | {_weights(card)} |
| trained on | {cell.family.id}, training tasks; supervision: {card.supervision} |
| cost | {steps}, {cost.seconds:,.0f} s on {_cores(card)} |
| commit | {origin["commit"] or "a checkout with changes"} |

    {command}

Return of a trial on `id`, {whole.n:,} trials, 95% interval: {_pm(copy)} as it is here, {_pm(whole)} in full precision.

{_limits(entry)}
"""
    measured = [model_card.Measured("id", copy)]
    return model_card.content(about, cell.family, measured, text)


def _weights(card: Card) -> str:
    """The number of weights that the folder has."""
    if card.model_id:
        return f"{card.params_trained:,} of an adapter, kept as float16; {card.model_id} is installed by `make llm`"
    return f"{card.params_total:,}, kept as float16"


def _cores(card: Card) -> str:
    return "up to two cores" if card.model_id else "one core"


def _limits(entry: zoo.Entry) -> str:
    """The last paragraph of a model card."""
    return textwrap.fill(
        "The weights are those of the last checkpoint. The agent has met training tasks of this family alone; "
        f"`metabridge evaluate {entry.spec} --splits shift` shows what shifts cost it. It plays and can be fine-tuned, "
        "but its training cannot go on: it has no optimiser state.",
        120,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _pm(interval: Interval) -> str:
    return f"{interval.mean:.4g} ±{(interval.high - interval.low) / 2:.2g}"


if __name__ == "__main__":
    main()
