"""The cells of the study: every run as it is, and with gradient steps on each of the weights that it can move."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bridge.errors import UserError
from bridge.evaluation.plan import Plan
from bridge.tasks.base import TaskFamily
from experiments import agents, runs, zoo
from experiments.cells import Cell

RATES = {"lora": 1e-2, "head": 1e-2, "full": 1e-3}
"""Learning rates by the weights that move: usual ones, not searched for."""
_NEVER = 10**6
"""More episodes than a trial has: with this ``inner_every``, gradient steps are taken before scored episodes alone."""


class Variant(NamedTuple):
    """A method with some gradient steps at test; runs that differ by their seeds alone are one variant."""

    method: str
    way: str
    """``full_reward`` and the like; ``own`` for gradient steps of the method's own kind; empty without any."""
    steps: int
    """Gradient steps before each scored episode."""
    alone: bool
    """True if gradient steps are its only way to learn from one episode for the next."""

    @property
    def name(self) -> str:
        """The method's name in the rows."""
        return f"{self.way} {self.method} {self.steps}".strip()

    def spec(self, run: runs.Folder) -> str:
        """Return the agent's spec for a run.

        A run is always named as a folder, even if it has the name of a method. Without gradient steps, a method that
        takes them takes none either.
        """
        place = str(run.place)
        if run.method is not None and run.method.takes_steps:
            return f"full_reward:run={place},inner_steps={self.steps}"
        if not self.steps:
            return place if zoo.is_entry(place) or Path(place).is_absolute() else f"./{place}"
        rate = RATES[self.way.split("_")[0]]
        once = f",inner_every={_NEVER}" if self.way.endswith("_reward") else ""
        return f"{self.way}:run={place},inner_steps={self.steps}{once},inner_lr={rate:g}"


class Study(NamedTuple):
    """A study: its runs, the weights that move, and how much is played."""

    family: TaskFamily
    runs: Sequence[Path]
    splits: tuple[str, ...]
    signal: Literal["reward", "demos"]
    tuned: tuple[str, ...]
    """Weights that move in transformers: keys of ``RATES``."""
    budgets: tuple[int, ...]
    shots: int
    trials: int
    out: Path
    memory: int

    @property
    def track(self) -> Literal["C", "F"]:
        """Track C for demonstrations, F for reward."""
        return "C" if self.signal == "demos" else "F"

    def cells(self) -> dict[Cell, Variant]:
        """Return every cell, those with the fewest gradient steps first.

        The operations of a trial are counted in the first of the cells that are configured alike.

        Raises:
            UserError: a run that cannot be played or tuned, or runs of a method that are no seeds of one configuration.
        """
        self._check_alike()
        found: dict[Cell, Variant] = {}
        counted: set[Any] = set()
        for variant, run in self._variants():
            folder = runs.read(run)
            for split in self.splits:
                alike = (folder.configuration, variant, self.family.trial(split))
                plan = Plan(split=split, trials=self.trials, track=self.track, shots=self.shots)
                cell = Cell(
                    self.family,
                    variant.spec(folder),
                    variant.name,
                    folder.about["seed"],
                    (plan,),
                    self.out,
                    behaviour="oracle",
                    count_flops=alike not in counted,
                    memory=self.memory,
                )
                counted.add(alike)
                found[cell] = variant
        return found

    def _variants(self) -> Iterator[tuple[Variant, Path]]:
        """Each variant of each run, by gradient steps.

        Raises:
            UserError: a run that cannot be played or tuned; it is found before anything is played.
        """
        ways = {run: self._ways(run) for run in self.runs}
        for steps in sorted({0, *self.budgets}):
            for run, variants in ways.items():
                if not steps:
                    yield variants[0], run
                else:
                    yield from ((variant._replace(steps=steps), run) for variant in variants[1:])

    def _ways(self, run: Path) -> list[Variant]:
        """A run as it is, and with a gradient step on each of the weights that it can move."""
        folder = runs.read(run)
        method = folder.method
        if method is None:
            raise UserError(
                f"{run} is tuned already, for a whole family. Study the run that it came from."
            )
        if method.takes_steps:
            if method.signal == "demos" != self.signal:
                raise UserError(
                    f"{run} clones demonstrations. Ask for --signal demos, or leave it out."
                )
            ways = ["own"] if self.signal == method.signal else []
        else:
            weights = self.tuned if method.transformer else ("full",)
            ways = [f"{name}_{self.signal}" for name in weights]
        plain = Variant(folder.about["method"], "", 0, alone=method.reads != "trial")
        tuned = [plain._replace(way=way, steps=1) for way in ways]
        for variant in (plain, *tuned):
            agents.load(variant.spec(folder), self.family, "id")
        return [plain, *tuned]

    def _check_alike(self) -> None:
        """Refuse runs of one method that are not one configuration with different seeds: they are pooled."""
        seen: dict[str, tuple[dict[str, Any], dict[int, Path]]] = {}
        for run in self.runs:
            folder = runs.read(run)
            config = dataclasses.asdict(folder.configuration)
            method, seed = folder.about["method"], folder.about["seed"]
            first, seeds = seen.setdefault(method, (config, {}))
            other = [key for key, value in config.items() if value != first[key]]
            if other:
                raise UserError(
                    f"Runs of {method} are pooled, but {run} has another {', '.join(other)}. Leave it out."
                )
            if seed in seeds:
                raise UserError(
                    f"{run} and {seeds[seed]} are both seed {seed} of {method}. Leave one out."
                )
            seeds[seed] = run
