"""``metabridge few-shot``: does adaptation in context replace fine-tuning? Curves over shots and gradient steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from bridge.config import Within
from bridge.errors import UserError, unknown
from experiments.commands.common import names_of, numbers_of, one_thread


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """Play trained runs as they are and with gradient steps at test, by shots, in distribution and under shift.

    For example: metabridge few-shot zoo:rl2/bandit zoo:icl_rl/bandit --splits id,shift/reward_sign/4 --out few
    """

    runs: Positional[tuple[str, ...]]
    """Trained runs: folders, or zoo:icl_rl/bandit for all of its training seeds. Seeds of a method are pooled."""
    family: str = ""
    """A family, with parameters after a colon (default: that of the first run)."""
    splits: tuple[str, ...] = ("id",)
    """Split names or patterns."""
    signal: Literal["reward", "demos"] = "reward"
    """reward: episodes of one's own play, and policy gradients; demos: the oracle's episodes, read and cloned."""
    tuned: tuple[str, ...] = ("lora", "full")
    """Weights of transformers that gradient steps move: lora, head, full; other methods move all of theirs."""
    budgets: tuple[str, ...] = ("0", "1", "5", "20", "100")
    """Gradient steps before each scored episode."""
    shots: int = 0
    """Episodes that are played or shown first (0: as many as a trial has, 16 at most)."""
    trials: Annotated[int, Within(2, 10_000_000)] = 256
    """Trials of each run, split and budget."""
    memory: str = "1GB"
    """Memory for playing in each process, on top of its own. It changes no number."""
    out: Path
    """The folder of rows, table (curves.csv) and figure (curves.png). What is done already is not done again."""

    def run(self) -> int:
        """Play what is missing, then print and draw all of it."""
        from bridge.evaluation.footprint import parse_memory
        from bridge.tasks import family as make_family
        from experiments import specs
        from experiments.cells import expand_splits
        from experiments.studies.few_shot import study
        from experiments.studies.few_shot.variants import RATES, Study

        one_thread()
        if not self.runs:
            raise UserError("Name one or more trained runs: their folders, or zoo:icl_rl/bandit.")
        family = make_family(self.family or specs.own_family(self.runs[0]))
        most = family.trial("id").episodes
        if not 0 <= self.shots <= most:
            raise UserError(
                f"--shots is 1 to {most}, the episodes of a trial of {family.id}; found {self.shots}."
            )
        splits = names_of("splits", self.splits, ("id",))
        tuned = names_of("tuned", self.tuned, ())
        if other := [weights for weights in tuned if weights not in RATES]:
            raise unknown("weights", other[0], RATES)
        seeds = [seed for run in self.runs for seed in specs.seeds(run, family).values()]
        study.run(
            Study(
                family=family,
                runs=[Path(seed) for seed in seeds],
                splits=expand_splits(family, splits, with_context=self.signal == "demos"),
                signal=self.signal,
                tuned=tuned,
                budgets=numbers_of("budgets", self.budgets, Annotated[int, Within(0, 100_000)]),
                shots=self.shots or min(16, most),
                trials=self.trials,
                out=self.out,
                memory=parse_memory(self.memory),
            )
        )
        return 0
