"""The study: tune, train and play what is missing, then print its tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bridge import files
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.training.budget import Budget
from experiments import runs
from experiments.cells import Cell
from experiments.registry import TUNING_SEED
from experiments.studies.arguments import play
from experiments.studies.concerns import scores, tables
from experiments.studies.concerns.mitigations import PLAIN, SPECIALISTS, Mitigation, mitigations
from experiments.studies.concerns.scores import Entry, Results
from experiments.studies.concerns.testbeds import TESTBEDS, Testbed

REFERENCES = ("random", "oracle")
"""The 0 and the 1 of every score."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained."""

    seeds: tuple[int, ...]
    testbeds: tuple[Testbed, ...] = TESTBEDS
    every: bool = False
    """True for slow and rare mitigations, too."""
    share: float = 1.0
    """Share of the testbeds' budgets."""
    trials: int = 400
    """Trials of an evaluation."""
    version: int = 1


SIZES = {
    "smoke": Size(seeds=(0, 1), testbeds=TESTBEDS[1:2], share=0.5, trials=100),
    "quick": Size(seeds=tuple(range(5))),
    "small": Size(seeds=tuple(range(10)), every=True, trials=2000),
}
"""By name."""


@dataclass(frozen=True)
class Study:
    """A size of the study in a folder."""

    size: Size
    out: Path

    def run(self) -> Results:
        """Tune, train and play what is missing; return the scores.

        Raises:
            UserError: the folder holds another study, or a cell failed.
        """
        about = {
            "version": self.size.version,
            "seeds": [*self.size.seeds],
            "share": self.size.share,
        }
        tuning = self._tuning()
        play([*tuning.values(), *self._references(1)], self.out, about)
        best = scores.best(tuning, self._references(1))
        final = self._final(best)
        play([*final.values(), *self._references(0)], self.out, about)
        return scores.read(final, self._references(0), best)

    def _rows(self, testbed: Testbed) -> tuple[Mitigation, ...]:
        return (PLAIN, SPECIALISTS, *mitigations(testbed, every=self.size.every))

    def _tuning(self) -> dict[tuple[Entry, float], Cell]:
        """The cells of every configuration at the top of every dial."""
        return {
            (Entry(testbed, testbed.top, row), tuned): self._cell(
                Entry(testbed, testbed.top, row), tuned, TUNING_SEED, eval_seed=1
            )
            for testbed in self.size.testbeds
            for row in self._rows(testbed)
            for tuned in row.configurations
        }

    def _final(self, best: dict[tuple[str, str], float]) -> dict[tuple[Entry, int], Cell]:
        """The cells of the best configurations: every row at the top, plain training and specialists at the bottom."""
        entries = [
            *(
                Entry(bed, bed.bottom, row)
                for bed in self.size.testbeds
                for row in (PLAIN, SPECIALISTS)
            ),
            *(Entry(bed, bed.top, row) for bed in self.size.testbeds for row in self._rows(bed)),
        ]
        return {
            (entry, seed): self._cell(
                entry, best[entry.testbed.name, entry.row.name], seed, eval_seed=0
            )
            for entry in entries
            for seed in self.size.seeds
        }

    def _cell(self, entry: Entry, tuned: float, seed: int, *, eval_seed: int) -> Cell:
        method = entry.row.spec(entry.testbed, tuned)
        family = make_family(entry.family)
        folder = files.name_of(family.id, method)
        training = runs.Run(
            method=method,
            family=family.id,
            seed=seed,
            budget=Budget(float(round(self.size.share * entry.testbed.steps)), "steps"),
            out=self.out / "runs" / f"{folder}--s{seed}",
        )
        name = f"{entry.row.name}:{tuned:g}"
        plans = (self._plan(eval_seed),)
        return Cell(family, method, name, seed, plans, self.out, training=training)

    def _references(self, eval_seed: int) -> list[Cell]:
        families = dict.fromkeys(
            testbed.at(value)
            for testbed in self.size.testbeds
            for value in (testbed.bottom, testbed.top)
        )
        plans = (self._plan(eval_seed),)
        return [
            Cell(make_family(family), name, name, 0, plans, self.out)
            for family in families
            for name in REFERENCES
        ]

    def _plan(self, eval_seed: int) -> Plan:
        """The known tasks."""
        return Plan(split="train", trials=self.size.trials, eval_seed=eval_seed)


def run(size: Size, out: Path) -> None:
    """Do what is missing of a size, then print and write its tables.

    Raises:
        UserError: as ``Study.run``.
    """
    found = Study(size, out).run()
    text = tables.text(found)
    files.write_text(out / "concerns.md", text)
    tables.write(found, out / "concerns.csv")
    print(text)
    print(f"Written: {out / 'concerns.md'}, {out / 'concerns.csv'}")
