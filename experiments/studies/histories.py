"""Histories that all methods of a family observe, and how the training seeds of each respond to them.

A behaviour agent plays the trials, and every method observes them (track C). So methods are compared on the same
evidence, whatever they would have explored themselves. On track F each explores its own.

Shape letters: S training seeds, P numbers of shots, T trials, H steps, A actions, D features of a state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from bridge import parquet
from bridge.errors import UserError, unknown
from bridge.evaluation.plan import Plan, Track
from bridge.evaluation.policies import SIGNS
from bridge.tasks import family as make_family
from bridge.tasks.base import Discrete, TaskFamily
from experiments import agents, markers
from experiments.cells import Cell
from experiments.studies import arguments, players
from experiments.studies.players import Player
from experiments.zoo import recipes
from experiments.zoo.recipes import RECIPES

AXES = {"bandit": ("prior", "reward_sign"), "gridnavi": ("action_permutation", "slip")}
"""Axes of a family, by its name, unless others are asked for."""


class Size(NamedTuple):
    """How much is played."""

    seeds: tuple[int, ...]
    """Training seeds. The zoo has 0, 1 and 2; others are trained by its recipes."""
    trials: int
    """Trials of a split."""


@dataclass(frozen=True, kw_only=True)
class Histories:
    """The histories of a family with runs in the zoo."""

    family: str
    """Its name alone."""
    axes: tuple[str, ...]
    """Its shift axes; empty: those of ``AXES``, or all."""
    behaviour: str
    """The agent that plays them."""
    size: Size
    levels: tuple[int, ...] = (1, 2, 3, 4)
    """Levels of each axis."""
    study: str
    """The name of the study that they are for."""
    out: Path
    """The folder of runs, which studies can share, and of what a study writes."""

    def check(self) -> None:
        """Refuse what cannot be played.

        Raises:
            UserError: no runs of the family in the zoo, actions that are not discrete, an axis that it lacks, or no
                such behaviour agent.
        """
        known = sorted({make_family(recipe.family).name for recipe in RECIPES})
        if self.family not in known:
            raise unknown("family of the zoo", self.family, known)
        if not isinstance(self.made.action, Discrete):
            raise UserError(
                f"Policies are compared on discrete actions; those of {self.family} are real-valued. Choose another "
                "family."
            )
        for axis in self.axes:
            if axis not in self.made.axes:
                raise unknown(f"axis of {self.made.id}:", axis, self.made.axes)
        if not agents.plays(self.behaviour, self.made):
            raise UserError(
                f"{self.behaviour} does not play {self.made.id}. Choose another --behaviour."
            )
        for split in self.splits:
            agents.load(self.behaviour, self.made, split)

    @cached_property
    def made(self) -> TaskFamily:
        """The variant that the runs of the zoo were trained on."""
        return make_family(recipes.variant(self.family))

    @property
    def rows(self) -> Path:
        """The folder of the study's rows and kept policies."""
        return self.out / self.study

    @property
    def about(self) -> dict[str, object]:
        """What a folder of them holds, for its marker."""
        return {
            "histories": 2,
            "family": self.made.id,
            "hash": self.made.hash,
            "behaviour": self.behaviour,
            "trials": self.size.trials,
            "seeds": [*self.size.seeds],
        }

    @property
    def are_there(self) -> bool:
        """True if the folder of rows holds these histories, of whatever axes.

        Raises:
            UserError: its marker is damaged.
        """
        return markers.agrees(self.rows / arguments.MARKER, self.about)

    @property
    def methods(self) -> list[Player]:
        """Every learned method of the zoo on the family, but language models."""
        here = [recipe for recipe in RECIPES if make_family(recipe.family).name == self.family]
        names = [recipe.method.partition(":")[0] for recipe in here if not recipe.of_language_model]
        return [Player(name, on=self.family) for name in names]

    @property
    def splits(self) -> tuple[str, ...]:
        """``id``, and the levels of each axis."""
        axes = self.axes or AXES.get(self.family, tuple(self.made.axes))
        return ("id", *(f"shift/{axis}/{level}" for axis in axes for level in self.levels))

    @property
    def extremes(self) -> tuple[str, ...]:
        """``id``, and the last level of each axis."""
        last = f"/{max(self.levels)}"
        return tuple(split for split in self.splits if split == "id" or split.endswith(last))

    def plan(self, split: str, track: Track = "C") -> Plan:
        """Return how histories of a split are played."""
        return Plan(split=split, trials=self.size.trials, track=track)

    def cells(
        self,
        methods: Iterable[Player],
        references: Sequence[str],
        splits: Sequence[str] = (),
        *,
        track: Track = "C",
        signs: Sequence[str] = (),
        signs_on: Sequence[str] = (),
    ) -> list[list[Cell]]:
        """Return the cells of methods and references on the histories of ``splits`` (empty: of all), kept policies too.

        The second list tunes runs that the first one trains. Of methods, ``signs`` are kept on the splits ``signs_on``.
        """
        needs = [(player, split) for player in methods for split in splits or self.splits]
        lists = players.cells(needs, self.size.seeds, self.size.trials, self.out, bounds=references)
        about = {"out": self.rows, "behaviour": self.behaviour, "policies": True}
        kept = {"signs": tuple(signs), "signs_on": tuple(signs_on)}
        return [
            [
                replace(
                    cell,
                    plans=self._plans(cell, track),
                    **about,
                    **(kept if cell.by_network else {}),
                )
                for cell in cells
            ]
            for cells in lists
        ]

    def _plans(self, cell: Cell, track: Track) -> tuple[Plan, ...]:
        return tuple(self.plan(plan.split, track) for plan in cell.plans)

    def play(self, lists: Iterable[Sequence[Cell]]) -> None:
        """Play the cells that have no rows yet, one list after another.

        Raises:
            UserError: histories that cannot be played, a folder of others, or a cell failed.
        """
        self.check()
        for cells in lists:
            if cells:
                arguments.play(cells, self.rows, self.about)

    def read(self, cells: Iterable[Cell], split: str) -> dict[str, Responses]:
        """Return the responses of the methods of cells on one split, by the method's name.

        Raises:
            UserError: kept policies are damaged or missing.
        """
        found: dict[str, list[Path]] = {}
        for cell in sorted(cells, key=lambda cell: cell.seed):
            for plan in cell.plans:
                if plan.split == split:
                    found.setdefault(cell.method, []).append(cell.policies_place(plan))
        return {method: read(places, self.made) for method, places in found.items()}


class Responses(NamedTuple):
    """The policies and states of a method, and what it earns, after each number of shots of each trial."""

    shots: tuple[int, ...]
    earned: Float[np.ndarray, "S P T"]
    """Sum of rewards of the shots."""
    policy: Float[np.ndarray, "S P T H A"]
    """Probabilities; zero at steps after the end of the further episode."""
    regret: Float[np.ndarray, "S P T"]
    """Of the scored episode."""
    optimum: Float[np.ndarray, "P T"]
    """The largest expected return of an episode given its task."""
    state: Float[np.ndarray, "S P T D"] | None
    """None for a method that does not represent its knowledge."""
    signs: Mapping[str, Float[np.ndarray, "S P T"]] = MappingProxyType({})
    """What a method makes of its shots, by name (``bridge/evaluation/policies.py``); empty unless they are kept."""

    @property
    def seeds(self) -> int:
        """The number of training seeds."""
        return len(self.policy)


def read(places: Sequence[Path], family: TaskFamily) -> Responses:
    """Return the responses in files of kept policies, one for each training seed.

    Raises:
        UserError: a file is damaged or missing.
    """
    assert isinstance(family.action, Discrete)
    by_seed = [_columns(path) for path in places]
    first = by_seed[0]
    shots, trials = np.unique(first["shots"]), len(np.unique(first["trial"]))

    def grid(name: str, *last: int) -> Float[np.ndarray, "S P T *rest"]:
        return np.stack([one[name].reshape(len(shots), trials, *last) for one in by_seed])

    return Responses(
        tuple(shots.tolist()),
        grid("earned"),
        grid("policy", -1, family.action.n),
        grid("regret"),
        grid("optimum")[0],
        grid("state", -1) if "state" in first else None,
        {name: grid(name) for name in SIGNS if name in first},
    )


def _columns(path: Path) -> dict[str, np.ndarray]:
    """The kept policies of a cell by column, ordered by shots and trials; a column of lists has two dimensions."""
    table = parquet.read(path, remedy="Remove it with its rows, and play it again.")
    table = table.sort_by([("shots", "ascending"), ("trial", "ascending")])
    return {name: _array(table[name].combine_chunks()) for name in table.column_names}


def _array(column: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy().reshape(len(column), -1)
    return column.to_numpy()
