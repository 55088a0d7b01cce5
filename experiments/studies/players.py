"""Agents of several training seeds, made by recipes of the zoo, and the references that bound their scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bridge import config
from bridge.errors import UserError
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from experiments import agents
from experiments.cells import Cell
from experiments.studies import by_recipe
from experiments.zoo import recipes
from experiments.zoo.recipes import Recipe

REFERENCES = ("random", "oracle")
"""The 0 and the 1 of scores."""


@dataclass(frozen=True)
class Player:
    """A method that is trained by its recipe in the zoo, perhaps on another variant or with other settings."""

    method: str
    """The name of a learned method with a recipe."""
    on: str = "bandit"
    """The name of the family."""
    variant: str = ""
    """Parameters of the family beside the recipe's: ``wide=reward_sign``."""
    settings: str = ""
    """Settings of the method in place of the recipe's."""
    share: float = 1.0
    """The share of the recipe's budget that it is trained for."""
    tuned: str = ""
    """A method with gradient steps at test that its runs are played by: ``lora_reward``."""

    @property
    def family(self) -> TaskFamily:
        """The family that it is trained on and plays."""
        spec = recipes.variant(self.on)
        joint = "," if ":" in spec else ":"
        return make_family(spec + joint * bool(self.variant) + self.variant)

    @property
    def name(self) -> str:
        """Its name in the rows, which is its own on its family."""
        parts = [self.settings, f"share={self.share:g}" * (self.share != 1)]
        given = ",".join(filter(None, parts))
        trained = f"{self.method}:{given}" if given else self.method
        return f"{self.tuned}{self._joint}{trained}" if self.tuned else trained

    @property
    def _joint(self) -> str:
        return ",run=" if ":" in self.tuned else ":run="

    def __str__(self) -> str:
        return f"{self.name} ({self.variant})" if self.variant else self.name

    def recipe(self, shorter: float) -> Recipe:
        """Return how it is trained, with the share ``shorter`` of its budget."""
        found = by_recipe.of(self.method, self.on)
        if self.settings:
            found = found._replace(method=_with(found.method, self.settings))
        return found._replace(steps=found.steps * self.share * shorter)

    @property
    def base(self) -> Player:
        """The player whose runs ``tuned`` tunes; itself if it tunes none."""
        return replace(self, tuned="")

    def cells(
        self, splits: Iterable[str], seeds: Sequence[int], trials: int, out: Path, shorter: float
    ) -> list[Cell]:
        """Return a cell for each training seed. With ``tuned``, the runs of ``base`` have to be there."""
        plans = tuple(Plan(split=split, trials=trials) for split in splits)
        made = by_recipe.cells(self.recipe(shorter), self.family, seeds, plans, out)
        named = [replace(cell, method=self.name) for cell in made]
        if not self.tuned:
            return named
        runs = [str(cell.training.out) if cell.training else cell.spec for cell in made]
        return [
            replace(cell, spec=f"{self.tuned}{self._joint}{run}", training=None)
            for cell, run in zip(named, runs, strict=True)
        ]


def _with(spec: str, settings: str) -> str:
    """A method's spec with other settings."""
    name, values = config.split_spec(spec)
    values |= config.split_spec(f"{name}:{settings}")[1]
    return f"{name}:{','.join(f'{key}={value}' for key, value in sorted(values.items()))}"


def cells(
    needs: Iterable[tuple[Player, str]],
    seeds: Sequence[int],
    trials: int,
    out: Path,
    *,
    shorter: float = 1.0,
    bounds: Sequence[str] = REFERENCES,
) -> tuple[list[Cell], list[Cell]]:
    """Return the cells of players on splits, with their references; first those of runs that the second ones tune.

    Args:
        needs: players, and a split for each.
        seeds: training seeds.
        trials: trials of a split.
        out: the folder of rows and runs.
        shorter: the share of their budget that all runs get; below 1, none that ships is played.
        bounds: references that are played on every family and split, as far as they play it.

    Raises:
        UserError: ``out`` holds a comma, which would end the name of a run that is tuned.
    """
    needs = list(needs)
    if "," in str(out) and any(player.tuned for player, _ in needs):
        raise UserError(
            f"--out names runs that are tuned at test, whose folders are written without commas; found {out}. Choose "
            "another name."
        )
    splits: dict[Player, dict[str, None]] = {}
    for player, split in needs:
        splits.setdefault(player.base, {}).setdefault("id")
        splits.setdefault(player, {}).setdefault(split)
    made = {player: player.cells(of, seeds, trials, out, shorter) for player, of in splits.items()}
    at_once = [cell for player, of in made.items() if not player.tuned for cell in of]
    later = [cell for player, of in made.items() if player.tuned for cell in of]
    return _references(splits, trials, out, bounds) + at_once, later


def _references(
    splits: Mapping[Player, Iterable[str]], trials: int, out: Path, names: Sequence[str]
) -> list[Cell]:
    """The cells of references on the families and splits of players, as far as they play them."""
    by_family: dict[TaskFamily, dict[str, None]] = {}
    for player, of in splits.items():
        by_family.setdefault(player.family, {}).update(dict.fromkeys(of))
    cells = []
    for family, found in by_family.items():
        for name in names:
            if agents.plays(name, family):
                source = agents.resolve(name, family)
                known = [split for split in found if source.plays_split(split)]
                plans = tuple(Plan(split=split, trials=trials) for split in known)
                cells.append(Cell(family, name, name, 0, plans, out))
    return cells
