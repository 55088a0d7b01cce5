"""Parts of the commands whose methods observe the same histories."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from experiments.commands.common import names_of

if TYPE_CHECKING:
    from experiments.studies.history_study import HistoryStudy

    Kind = TypeVar("Kind", bound=HistoryStudy)


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
    """The folder of runs, rows, tables and figures, which mirror, attribute and detect can share. What is done already
    is not done again."""

    def study(self, kind: type[Kind]) -> Kind:
        """Return the study that the flags describe."""
        return kind.on(
            self.family,
            self.out,
            size=self.size,
            axes=names_of("axes", self.axes, ()),
            behaviour=self.behaviour,
        )
