"""Cells of runs that recipes of the zoo make: runs that ship, and those that a study trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bridge import config, files
from bridge.errors import unknown
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from bridge.training.budget import Budget
from experiments import runs, zoo
from experiments.cells import Cell
from experiments.zoo import recipes
from experiments.zoo.recipes import RECIPES, Recipe


def of(method: str, family: str) -> Recipe:
    """Return the recipe of a method on a family, both by their names alone (``rl2``, ``bandit``).

    Raises:
        UserError: there is none.
    """
    if found := recipes.of(f"{zoo.PREFIX}{method}/{family}"):
        return found
    raise unknown("recipe of the zoo", f"{method}/{family}", sorted(map(_place, RECIPES)))


def _place(recipe: Recipe) -> str:
    return f"{name_of(recipe)}/{make_family(recipe.family).name}"


def name_of(recipe: Recipe) -> str:
    """Return the name of its method, without settings."""
    return config.split_spec(recipe.method)[0]


def cells(
    recipe: Recipe, family: TaskFamily, seeds: Sequence[int], plans: tuple[Plan, ...], out: Path
) -> list[Cell]:
    """Return a cell for each training seed: the run of the zoo if it is of this recipe, else a training.

    Args:
        recipe: one of the zoo's, or one with other settings or another budget.
        family: the family to train on and to play: that of the recipe, or another variant.
        seeds: training seeds.
        plans: what is played.
        out: the folder of the rows; runs are in ``runs`` below it.
    """
    ships = recipe in RECIPES and family.id == make_family(recipe.family).id
    there = zoo.seeds(name_of(recipe), family.name) if ships else ()
    return [
        replace(cell, spec=zoo.Entry(cell.method, family.name, cell.seed).spec, training=None)
        if cell.seed in there
        else cell
        for cell in (_trained(recipe, family, seed, plans, out) for seed in seeds)
    ]


def _trained(
    recipe: Recipe, family: TaskFamily, seed: int, plans: tuple[Plan, ...], out: Path
) -> Cell:
    folder = f"{files.name_of(family.id, recipe.method)}--s{seed}"
    if recipe.steps != of(name_of(recipe), family.name).steps:
        folder += f"--{recipe.steps:g}"
    training = runs.Run(
        method=recipe.method,
        family=family.id,
        seed=seed,
        budget=Budget(float(recipe.steps), "steps"),
        evaluations=0,
        precision="bf16" if recipe.of_language_model else "no",
        out=out / "runs" / folder,
    )
    return Cell(family, recipe.method, name_of(recipe), seed, plans, out, training=training)
