"""The study: play what the claims of a sheet need, then judge, print and write the sheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bridge import files
from bridge.evaluation import results
from bridge.files import write_text
from bridge.report.claims import Evidence, verdicts
from bridge.report.summary import Results
from experiments import agents, specs
from experiments.cells import Cell
from experiments.markers import claim
from experiments.studies import players
from experiments.studies.arguments import play
from experiments.studies.claims import tables
from experiments.studies.claims.claim import Claim
from experiments.studies.claims.others import Other, others
from experiments.studies.named import Named


@dataclass(frozen=True)
class Size:
    """How much is trained and played."""

    seeds: tuple[int, ...]
    """Training seeds. The zoo has 0, 1 and 2; others are trained by its recipes."""
    trials: int
    """Trials of a split."""
    share: float = 1.0
    """The share of their budget that all runs get; below 1, none that ships is played."""
    text_trials: int = 0
    """Trials of a split that a language model plays; 0: none, so that claims on it have no rows."""
    concerns: str = ""
    """The size of ``metabridge concerns`` behind claims on multi-task RL; empty: none, so that these have no rows."""
    histories: str = ""
    """The size of ``metabridge mirror``, ``attribute`` and ``detect`` behind claims on why methods fail; as above."""


SIZES = {
    "smoke": Size((0, 1), 100, share=0.01),
    "quick": Size((0, 1, 2), 512, share=0.25),
    "small": Size((0, 1, 2, 3, 4), 1024, text_trials=64, concerns="quick", histories="small"),
}


@dataclass(frozen=True)
class Study:
    """A sheet of claims, a size and a folder. Rows of language models lie in ``text``, as they are of fewer trials."""

    sheet: Mapping[str, Claim]
    """All claims by name; verdicts are corrected for their number."""
    size: Size
    out: Path
    names: tuple[str, ...] = field(default=())
    """The claims that are played; empty: all."""

    @property
    def asked(self) -> dict[str, Claim]:
        """The claims that are played."""
        return {name: self.sheet[name] for name in self.names or self.sheet}

    def play(self) -> None:
        """Play what is missing.

        Raises:
            UserError: a package is missing, the folder holds another study or other predictions, or a cell failed.
        """
        self._check()
        promises = {f"claim {name}": claim.promise for name, claim in self.asked.items()}
        about = {"seeds": [*self.size.seeds], "share": self.size.share}
        results.open_folder(self.out)
        with files.locked(self.out):
            claim(self.out / "claims.json", {**about, **promises}, "sheet of claims")
        for text in (False, True):
            out, trials = self._folder(text)
            for cells in self._cells(text):
                if cells:
                    play(cells, out, about | {"trials": trials})
        for study in self._others_asked:
            study.play()

    @cached_property
    def evidence(self) -> dict[str, Evidence]:
        """The effects of each claim of the sheet, by name, as far as they were played."""
        return {name: claim.test.evidence(self) for name, claim in self.sheet.items()}

    def of(self, player: players.Player) -> Results | None:
        """Return the results that a player is in; None if there are none."""
        return self._results[_reads_text(player)]

    def numbers(self, study: str) -> Named:
        """Return the numbers of another study; none unless it was played."""
        return self._numbers.get(study, {})

    def _check(self) -> None:
        """Refuse what would fail after hours: a missing package.

        Raises:
            UserError: the language model or a package of another study is missing.
        """
        for study in self._others_asked:
            study.check()
        for player, _ in self._needs(text=True):
            if self.size.text_trials and not player.tuned:
                shipped = f"zoo:{player.method}/{player.on}"
                agents.load(shipped, player.family, "id")

    @cached_property
    def _results(self) -> dict[bool, Results | None]:
        found = {}
        for text in (False, True):
            folder, _ = self._folder(text)
            found[text] = Results(folder) if results.files(folder) else None
        return found

    @property
    def _others(self) -> Mapping[str, Other]:
        """The other studies by name, without those that the size leaves out."""
        concerns, histories = self.size.concerns, self.size.histories
        return others(self.out, size_of_concerns=concerns, size_of_histories=histories)

    @property
    def _others_asked(self) -> list[Other]:
        """Those that the claims are about which are played."""
        asked = {name for claim in self.asked.values() for name in claim.test.studies}
        return [study for name, study in self._others.items() if name in asked]

    @cached_property
    def _numbers(self) -> dict[str, Named]:
        return {name: study.numbers() for name, study in self._others.items()}

    def _folder(self, text: bool) -> tuple[Path, int]:
        """The folder of rows of a language model, or of all others, and the trials of its splits."""
        return (self.out / "text", self.size.text_trials) if text else (self.out, self.size.trials)

    def _cells(self, text: bool) -> tuple[list[Cell], list[Cell]]:
        """The cells that a language model plays, or all others; first those that the second ones tune."""
        out, trials = self._folder(text)
        if not trials:
            return [], []
        size = self.size
        return players.cells(self._needs(text), size.seeds, trials, out, shorter=size.share)

    def _needs(self, text: bool) -> Iterator[tuple[players.Player, str]]:
        """The needs of the claims, of language models or of all others."""
        for each in self.asked.values():
            for player, split in each.test.needs:
                if _reads_text(player) == text:
                    yield player, split


def _reads_text(player: players.Player) -> bool:
    return specs.reads_text(player.method)


def run(study: Study) -> None:
    """Do what is missing, then print the claims that were asked for, and write the whole sheet as Markdown and CSV.

    Raises:
        UserError: as ``Study.play``.
    """
    study.play()
    found = verdicts(study.evidence)
    whole = tables.markdown(study.sheet, study.evidence, found)
    write_text(study.out / "claims.md", whole)
    rows = tables.comma_separated(study.sheet, study.evidence, found)
    write_text(study.out / "claims.csv", rows)
    print(tables.markdown(study.asked, study.evidence, found))
    print(f"Written into {study.out}: claims.md and claims.csv")
