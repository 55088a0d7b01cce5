"""``metabridge claims``: what is said of multi-task and meta-RL, as tests with verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.commands.common import names_of, one_thread


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Test claims about multi-task and meta-RL, and print a verdict on each with its evidence.

    For example: metabridge claims --size quick --out results/claims
    """

    names: tuple[str, ...] = ()
    """Claims to test (default: the whole sheet, whose size verdicts are corrected for in any case). A name is that of a
    file in experiments/studies/claims/sheet."""
    size: Literal["smoke", "quick", "small"] = "quick"
    """quick: three seeds of short trainings, which decide little; claims on mitigations, on language models and on why
    methods fail have no rows. small: five seeds, those of the zoo among them, and everything (needs make llm and
    'metabridge[concerns]')."""
    out: Path
    """The folder of rows, runs and the sheet (claims.md, claims.csv). What is done already is not done again."""

    def run(self) -> int:
        """Do what is missing, then print the sheet."""
        from bridge.errors import unknown
        from experiments.studies.claims import study
        from experiments.studies.claims.sheet import SHEET

        one_thread()
        names = names_of("names", self.names, tuple(SHEET))
        for name in names:
            if name not in SHEET:
                raise unknown("claim", name, SHEET)
        study.run(study.Study(SHEET, study.SIZES[self.size], self.out, names))
        return 0
