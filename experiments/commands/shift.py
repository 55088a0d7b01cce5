"""``metabridge shift``: how far from training methods still work, and what their falls are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.commands.common import names_of, one_thread


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Play methods at every level of shift axes: how far each still works, and what causes its fall.

    For example: metabridge shift --family bandit --axes prior,reward_sign --out results/shift
    """

    family: str
    """A family; a name alone (darkroom) is the variant that runs of the zoo were trained on, if there is one."""
    axes: tuple[str, ...] = ()
    """Its axes (default: all that move tasks). context_quality, which moves the context of track C, stands alone."""
    methods: tuple[str, ...] = ()
    """References, run folders, runs that ship (zoo:rl2), your own agents; all (the default) is every method of the zoo
    and the references. Random play, the oracle and Bayes-optimal play are always there."""
    size: Literal["smoke", "quick", "small"] = "quick"
    """quick: under 15 minutes for a family of the zoo. small: more trials, all seeds of slow methods, on bandits ten of
    all others, which are trained first."""
    memory: str = "1GB"
    """Memory for playing in each process, on top of its own: 500MB, 2GB. It changes no number."""
    out: Path
    """The folder of rows, tables (shift.md, shift.csv) and figures. What is done already is not done again."""

    def run(self) -> int:
        """Play what is missing, then print and draw all of it."""
        from bridge.evaluation.footprint import parse_memory
        from bridge.tasks import family as make_family
        from experiments.studies.shift import study
        from experiments.zoo import recipes

        one_thread()
        return study.run(
            study.Study(
                family=make_family(recipes.variant(self.family)),
                axes=names_of("axes", self.axes, ()),
                methods=names_of("methods", self.methods, ()),
                size=study.SIZES[self.size],
                out=self.out,
                memory=parse_memory(self.memory),
            )
        )
