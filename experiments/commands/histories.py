"""Parts of the commands whose methods observe the same histories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments.commands.common import names_of

if TYPE_CHECKING:
    from experiments.studies.histories import Histories


@dataclass(frozen=True, kw_only=True)
class OnHistories:
    """Flags of the histories."""

    family: str = "bandit"
    """The name of a family with runs in the zoo and discrete actions."""
    axes: tuple[str, ...] = ()
    """Its shift axes (default: on bandits prior and reward_sign, on gridnavi action_permutation and slip)."""
    behaviour: str = "random"
    """The agent that plays the histories: a reference, or a run."""
    size: Literal["smoke", "quick", "small"] = "quick"
    """quick: the three seeds of the zoo; small: five seeds, of which two are trained first."""
    out: Path
    """The folder of rows, policies, tables and the figure. What is done already is not done again."""

    def histories(self, sizes: Mapping[str, Any], levels: tuple[int, ...]) -> Histories:
        """Return the histories that the flags name, of a size and some levels of each axis."""
        from experiments.studies.histories import Histories

        return Histories(
            family=self.family,
            axes=names_of("axes", self.axes, ()),
            behaviour=self.behaviour,
            size=sizes[self.size],
            levels=levels,
            out=self.out,
        )
