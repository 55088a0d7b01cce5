"""The study: tune, train and play what is missing, then show its tables and figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from bridge import files
from bridge.rng import Rows
from bridge.tasks import family as make_family
from experiments import registry
from experiments.cells import Cell
from experiments.registry import LEARNERS, TUNING_SEED
from experiments.studies.arguments import play
from experiments.studies.concerns import scores, tables
from experiments.studies.concerns.conflicts import Conflicts
from experiments.studies.concerns.front import Front
from experiments.studies.concerns.making import Maker, Measure, Score
from experiments.studies.concerns.mitigations import PLAIN, SPECIALISTS, Mitigation, mitigations
from experiments.studies.concerns.scores import Entry, Results
from experiments.studies.concerns.sequence import Sequence
from experiments.studies.concerns.testbeds import SLOW, TESTBEDS, Testbed
from experiments.studies.concerns.transfer import Transfer


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained."""

    seeds: tuple[int, ...]
    testbeds: tuple[Testbed, ...] = TESTBEDS
    every: bool = False
    """True for slow and rare mitigations, too."""
    measures: bool = True
    """True for conflicts, transfer, the Pareto front and what is forgotten, too."""
    share: float = 1.0
    """Share of the testbeds' budgets."""
    trials: int = 400
    """Trials of an evaluation."""
    version: int = 2


SIZES = {
    "smoke": Size(seeds=(0, 1), testbeds=TESTBEDS[1:2], measures=False, share=0.5, trials=100),
    "quick": Size(seeds=tuple(range(5))),
    "small": Size(seeds=tuple(range(10)), testbeds=TESTBEDS + SLOW, every=True, trials=2000),
}
"""By name."""


@dataclass(frozen=True)
class Study:
    """A size of the study in a folder."""

    size: Size
    out: Path

    def run(self) -> tuple[Results, tuple[str, ...]]:
        """Tune, train and play what is missing, and draw the figures; return the scores, and the tables of measures.

        Raises:
            UserError: the folder holds another study, or a cell failed.
        """
        self.check()
        tuning = self.tuning()
        best = scores.best(tuning, self._played(self._tuner, tuning.values()))
        final = self.final(best)
        measures = self.measures(best, final) if self.size.measures else ()
        wanted = [*final.values(), *(cell for x in measures for cell in x.cells().values())]
        score = self._played(self._maker, wanted)
        results = scores.read(final, score, best)
        return results, tuple(measure.show(score, self.out / "figures") for measure in measures)

    def check(self) -> None:
        """Refuse a study for which a package is missing, before hours of training: make what each testbed needs.

        Raises:
            UserError: a package is missing.
        """
        for testbed in self.size.testbeds:
            family, first = make_family(testbed.at(testbed.top)), torch.zeros(1, dtype=torch.int64)
            family.reset(family.sample("train", first), Rows.of("check", first))
            for row in self._rows(testbed):
                spec = row.spec(testbed, row.configurations(testbed)[0])
                learner = LEARNERS[registry.name_of(spec)]
                learner.learner(family, registry.configure(spec, learner), seed=0)

    def _played(self, make: Maker, wanted: Iterable[Cell]) -> Score:
        """Play the cells and the references of their families, as far as they are missing; return their scores."""
        cells = list({cell.place(cell.plans[0]): cell for cell in wanted}.values())
        references = make.references(cell.family.id for cell in cells)
        about = {
            "version": self.size.version,
            "seeds": [*self.size.seeds],
            "share": self.size.share,
        }
        play([*cells, *references], self.out, about)
        return scores.scorer(references)

    @property
    def _maker(self) -> Maker:
        return Maker(self.out, self.size.trials, self.size.share)

    @property
    def _tuner(self) -> Maker:
        return Maker(self.out, self.size.trials, self.size.share, eval_seed=1)

    def _rows(self, testbed: Testbed) -> tuple[Mitigation, ...]:
        return (PLAIN, SPECIALISTS, *mitigations(testbed, every=self.size.every))

    def tuning(self) -> dict[tuple[Entry, float], Cell]:
        """Return the cells of every configuration at the top of every dial."""
        return {
            (Entry(testbed, testbed.top, row), tuned): self._cell(
                self._tuner, Entry(testbed, testbed.top, row), tuned, TUNING_SEED
            )
            for testbed in self.size.testbeds
            for row in self._rows(testbed)
            for tuned in row.configurations(testbed)
        }

    def final(self, best: dict[tuple[str, str], float]) -> dict[tuple[Entry, int], Cell]:
        """Return the cells of the best configurations: every row at the top, plain training and specialists at the
        bottom."""
        beds = self.size.testbeds
        entries = [
            *(Entry(bed, bed.bottom, row) for bed in beds for row in (PLAIN, SPECIALISTS)),
            *(Entry(bed, bed.top, row) for bed in beds for row in self._rows(bed)),
        ]
        return {
            (entry, seed): self._cell(
                self._maker, entry, best[entry.testbed.name, entry.row.name], seed
            )
            for entry in entries
            for seed in self.size.seeds
        }

    def _cell(self, make: Maker, entry: Entry, tuned: float, seed: int) -> Cell:
        method, name = entry.row.spec(entry.testbed, tuned), f"{entry.row.name}:{tuned:g}"
        return make.trained(method, entry.family, name, seed, entry.testbed.steps)

    def measures(
        self, best: dict[tuple[str, str], float], final: dict[tuple[Entry, int], Cell]
    ) -> tuple[Measure, ...]:
        """Return the measures, with the learning rates of plain training."""
        make, seeds = self._maker, self.size.seeds
        together = tuple(
            bed
            for bed in self.size.testbeds
            if bed.method == "mtrl" and make_family(bed.at(bed.bottom)).tasks > 1
        )
        (in_sequence,) = (bed for bed in self.size.testbeds if bed.method == "mtrl_sequence")
        rates = {bed.name: best[bed.name, PLAIN.name] for bed in self.size.testbeds}
        kept = {
            row: best[in_sequence.name, row.name]
            for row in self._rows(in_sequence)
            if not row.together
        }
        tasks = make_family(in_sequence.at(in_sequence.top)).tasks
        whole = {
            ((entry.row.name, tasks), seed): cell
            for (entry, seed), cell in final.items()
            if entry.row in kept and entry.family == in_sequence.at(in_sequence.top)
        }
        return (
            Conflicts(make, together, seeds, rates),
            Transfer(make, seeds, rates["opposed"]),
            Front(make, seeds, rates["opposed"]),
            Sequence(make, in_sequence, seeds, kept, rates[in_sequence.name], whole),
        )


def run(size: Size, out: Path) -> None:
    """Do what is missing of a size, then print and write its tables.

    Raises:
        UserError: as ``Study.run``.
    """
    results, measures = Study(size, out).run()
    text = "\n\n".join((tables.text(results), *measures))
    files.write_text(out / "concerns.md", text)
    tables.write(results, out)
    print(text)
    drawn = ", figures/ (conflicts, transfer, front)" if measures else ""
    print(f"\nWritten into {out}: concerns.md, concerns.csv, tasks.csv (scores by task){drawn}")
