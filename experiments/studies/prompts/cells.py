"""The cells of the study: methods on bandits, formats of prompts, and encodings of rewards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bridge.evaluation.footprint import MEMORY
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from experiments import specs
from experiments.cells import Cell
from llm_adapt.prompts.formats import FORMATS

BANDIT = "bandit:k=5,n=10"
"""The family of the zoo's runs on bandits, which the tables of methods and of formats are on."""
HARD, EASY = "bandit:k=5,n=100,arms=one_best_hard", "bandit:k=4,n=100,arms=one_best_easy"
"""The instances of Krishnamurthy et al. 2024."""
MODEL, TRAINED = "prompted_smollm2", "prompted_smollm2_lora_ad"
FEW_SHOT = "prompted_smollm2_lora_fewshot"
FORMAT = "terse"
"""The format of meta-training, in which the models are compared with other methods."""
REFERENCES = ("random", "thompson", "ucb1", "greedy", "bayes")
TENSORS = ("rl2", "maml", "icl_rl", "icl_ad", "icl_dpt")
"""Methods of the zoo that read numbers."""
SHIFTS = ("id", "shift/gap/3", "shift/prior/4", "shift/reward_sign/4")
SCALES = ("id", *(f"shift/reward_scale/{level}" for level in range(1, 5)))
"""For methods that read numbers, another unit of rewards is another encoding of the same task."""


@dataclass(frozen=True)
class Size:
    """Numbers of trials, and the formats and instances that are played."""

    trials: int
    """Trials of a split, of every method that takes no gradient steps in a trial; at most as many have their steps
    kept."""
    few_shot: int
    """Trials of a split with gradient steps on a language model."""
    formats: tuple[str, ...]
    """Formats of the prompted models."""
    few_shot_formats: tuple[str, ...]
    """Those of them that are played with gradient steps, too."""
    instances: tuple[str, ...] = (HARD, EASY)
    """Families of the table of published instances."""
    instance_trials: int = 100
    """Trials of each of these."""


_TEN = (
    "terse", "log", "adverts", "suggestive", "digits", "colours", "invented", "reversed", "decimals", "capitals",
)  # fmt: skip
_THIRTEEN = (*_TEN, "summary", "question", "dialogue")
SIZES = {
    "smoke": Size(4, 2, ("terse", "summary"), ("terse",), (), 0),
    "quick": Size(64, 16, _THIRTEEN, _TEN, (HARD, EASY), 40),
    "small": Size(256, 64, tuple(FORMATS), tuple(FORMATS), (HARD, EASY), 200),
}


class Part(NamedTuple):
    """A cell's place in the tables."""

    table: str
    """methods, instances, formats or scales."""
    method: str
    column: str
    """The split, the family or the format."""


@dataclass(frozen=True)
class Study:
    """A study: its size, the run of meta-training, and its folder."""

    size: Size
    run: str
    """The run whose adapter is compared: a folder, or one of the zoo."""
    out: Path
    memory: int = 4 * MEMORY

    def cells(self) -> dict[Cell, Part]:
        """Return every cell with its place; cells that tables share are there once."""
        found: dict[Cell, Part] = {}
        for part, cell in self._parts():
            found.setdefault(cell, part)
        return found

    def _parts(self) -> Iterator[tuple[Part, Cell]]:
        size = self.size
        for split in SHIFTS:
            for method in (*REFERENCES, *(f"zoo:{name}" for name in TENSORS)):
                for cell in self._seeds(BANDIT, method, split, size.trials):
                    yield Part("methods", specs.label(method), split), cell
            for method, spec, trials in self.models(FORMAT):
                for cell in self._seeds(BANDIT, spec, split, trials):
                    yield Part("methods", method, split), cell
        for family in size.instances:
            for method in REFERENCES:
                cell = self._cell(family, method, "id", size.instance_trials)
                yield Part("instances", method, family), cell
            for method, spec, _ in self.models(FORMAT)[:2]:
                for cell in self._seeds(family, spec, "id", size.instance_trials):
                    yield Part("instances", method, family), cell
        for format in size.formats:
            for method, spec, trials in self.models(format):
                if method != FEW_SHOT or format in size.few_shot_formats:
                    for cell in self._seeds(BANDIT, spec, "id", trials):
                        yield Part("formats", method, format), cell
        for split in SCALES:
            for name in TENSORS:
                for cell in self._seeds(BANDIT, f"zoo:{name}", split, size.trials):
                    yield Part("scales", f"zoo:{name}", split), cell

    def models(self, format: str) -> list[tuple[str, str, int]]:
        """Return method, spec and trials of the model as it is, meta-trained, and fine-tuned in every trial."""
        return [
            (MODEL, f"{MODEL}:format={format}", self.size.trials),
            (TRAINED, f"{MODEL}:format={format},run={self.run}", self.size.trials),
            (FEW_SHOT, f"{FEW_SHOT}:format={format},inner_every=5", self.size.few_shot),
        ]

    def _cell(self, family: str, spec: str, split: str, trials: int) -> Cell:
        plan = Plan(split=split, trials=trials)
        made = make_family(family)
        return Cell(made, spec, specs.label(spec), 0, (plan,), self.out, memory=self.memory)

    def _seeds(self, family: str, method: str, split: str, trials: int) -> list[Cell]:
        """The cells of all training seeds that a method has in the zoo, or of its one run."""
        cell = self._cell(family, method, split, trials)
        by_seed = specs.seeds(method, make_family(BANDIT))
        return [replace(cell, spec=spec, seed=seed) for seed, spec in by_seed.items()]
