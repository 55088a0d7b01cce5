"""``metabridge compare``: methods side by side."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from bridge.config import Seed, Trials, Within
from bridge.errors import UserError
from bridge.evaluation.plan import Track
from bridge.training.budget import Budget
from bridge.words import counted
from experiments import registry
from experiments.commands.common import (
    SizeName,
    budget_of,
    names_of,
    numbers_of,
    one_thread,
    tracks_of,
)
from experiments.commands.report import report
from experiments.sizes import SIZES


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Play methods side by side; what is done already in OUT is not done again.

    For example: metabridge compare --size smoke --out results/smoke
    """

    size: SizeName = "quick"
    """smoke: under a minute; quick: under ten; small: about ten hours; full: about nine days."""
    families: tuple[str, ...] = ()
    """Instead of the size's families: bandit:k=5,n=10,gridnavi; path/to/maze.py:Maze is your own (default: those of the
    runs in --methods, if any)."""
    methods: tuple[str, ...] = ()
    """Instead of the size's methods: references, learned methods (trained first), run folders, runs that ship, on each
    family that has one (zoo:icl_rl, lora_reward:run=zoo:icl_rl), and your own agents (path/to/mine.py:MyAgent)."""
    splits: tuple[str, ...] = ()
    """Instead of the size's splits: names or patterns, for all families, or for one: id,bandit:shift/prior."""
    tracks: tuple[str, ...] = ()
    """Instead of the size's tracks. O: own exploration; C: a common context, then frozen; F: free adaptation, then
    frozen. A method plays those that it can learn on."""
    shots: Annotated[int, Within(0, 1_000_000)] | None = None
    """Tracks C and F: episodes of context or adaptation, instead of the size's (0: the whole trial)."""
    behaviour: str = ""
    """The agent that makes the context of track C, instead of the size's (default: random)."""
    seeds: tuple[str, ...] = ()
    """Training seeds of learned methods (references have none), and of the zoo's runs that take gradient steps in every
    trial, instead of the size's. Other runs of the zoo play with all seeds that they have."""
    trials: Trials | None = None
    """Trials a split, instead of the size's."""
    budget: str = ""
    """Training of learned methods, instead of the size's: environment steps (5e6), seconds (600s) or 1e15flops."""
    tuning: Annotated[int, Within(1, 10_000)] | None = None
    """Configurations to choose from on id_val for every learned method, instead of the size's; 1: the defaults."""
    fresh: bool = False
    """Train the runs of zoo:METHOD again by their recipes, instead of playing those that ship (hours)."""
    memory: str = "1GB"
    """Memory for playing in each process, on top of its own: 500MB, 2GB. It changes no number."""
    out: Path = Path("results/compare")
    """The folder of rows, tables and figures."""
    tables: bool = False
    """Print the table of every family, too, and not the leaderboard alone."""

    def run(self) -> int:
        """Play, then report."""
        from bridge.evaluation import results
        from bridge.evaluation.footprint import parse_memory
        from experiments import compare

        one_thread()
        size = SIZES[self.size]
        methods = names_of("methods", self.methods, size.methods)
        seeds = numbers_of("seeds", self.seeds, Seed) or size.seeds
        tuning = size.tuning_configs if self.tuning is None else self.tuning
        tracks = tracks_of(names_of("tracks", self.tracks, size.tracks))
        families = compare.distinct(self._families(methods) or size.families)
        self._check_training_flags(methods, [family.name for family in families])
        self._check_seeds(seeds, tuning)
        self._check_fresh(methods)
        self._check_track_flags(tracks)
        grid = compare.Grid(
            families=families,
            methods=methods,
            splits=names_of("splits", self.splits, size.splits),
            trials=lambda family: self.trials or size.trials_of(family),
            budget=self._budget,
            seeds=seeds,
            configurations=tuning,
            out=self.out,
            memory=parse_memory(self.memory),
            tracks=tracks,
            shots=size.shots if self.shots is None else self.shots,
            behaviour=self.behaviour or size.behaviour,
            fresh=self.fresh,
            size="" if self._plays_otherwise else f"{self.size} {size.version}",
            named_methods=bool(self.methods),
            named_splits=bool(self.splits),
        )
        failed = grid.play()
        if not failed or results.files(self.out):
            report(self.out, all_tables=self.tables)
        if failed:
            print(
                f"{counted(failed, 'cell')} failed; see {self.out / 'errors.log'}. The same command tries them again.",
                file=sys.stderr,
            )
        return 1 if failed else 0

    def _families(self, methods: tuple[str, ...]) -> tuple[str, ...]:
        """The families that are named, or those of the runs that ``methods`` name."""
        from experiments import specs

        if self.families:
            return names_of("families", self.families, ())
        return tuple(filter(None, map(specs.trained_on, methods)))

    def _budget(self, method: str, family: str) -> Budget | None:
        """The training of a method on a family (its name); None if the size trains its methods on others alone."""
        trained_on = SIZES[self.size].trained_on
        if not self.methods and trained_on is not None and family not in trained_on:
            return None
        return budget_of(self.budget, method, family, None if self.budget else self.size)

    @property
    def _plays_otherwise(self) -> bool:
        """True if trials or training are not those of the size."""
        flags = (self.trials, self.budget, self.tuning, self.shots, self.behaviour)
        return any(flag not in (None, "") for flag in flags)

    def _check_track_flags(self, tracks: tuple[Track, ...]) -> None:
        """Refuse flags about contexts if none is shown."""
        if self.behaviour and "C" not in tracks:
            raise UserError("--behaviour is for track C. Leave it out, or ask for --tracks O,C.")
        if self.shots is not None and set(tracks) == {"O"}:
            raise UserError(
                "--shots is for tracks C and F; track O plays whole trials. Leave it out, or ask for --tracks O,F."
            )

    def _check_training_flags(self, methods: tuple[str, ...], families: list[str]) -> None:
        """Refuse flags about training if no method is trained on any of the families, which are given by name."""
        from experiments import specs, zoo

        tuned = [
            method for method in methods if registry.name_of(method) in registry.TEST_TIME_METHODS
        ]
        given = {
            "seeds": self.seeds and not any(zoo.is_entry(specs.run_in(each)) for each in tuned),
            "budget": self.budget,
            "tuning": self.tuning,
        }
        flags = " and ".join(f"--{flag}" for flag, value in given.items() if value)
        learned = [method for method in methods if registry.name_of(method) in registry.LEARNERS]
        if not flags or any(
            self._budget(method, family) for method in learned for family in families
        ):
            return
        idle = f"size {self.size} trains none on {', '.join(families)}"
        if not learned:
            idle = f"here is none of these, but {', '.join(methods)}"
        raise UserError(
            f"Only methods that are trained first read {flags}, and {idle}. Leave it out."
        )

    def _check_fresh(self, methods: tuple[str, ...]) -> None:
        """Refuse to train runs of the zoo again if none is named."""
        from experiments import specs, zoo

        if self.fresh and not any(zoo.is_entry(specs.run_in(method)) for method in methods):
            raise UserError(
                f"--fresh trains runs of the zoo again (zoo:METHOD), and here is none of these, but "
                f"{', '.join(methods)}. Leave it out."
            )

    def _check_seeds(self, seeds: tuple[int, ...], tuning: int) -> None:
        """Refuse the seed that tuning trains with."""
        if tuning > 1 and registry.TUNING_SEED in seeds:
            raise UserError(
                f"Training seed {registry.TUNING_SEED} is the one that tuning trains with. Choose another."
            )
