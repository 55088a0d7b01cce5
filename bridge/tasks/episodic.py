"""Families whose trials have several episodes of several steps, with the shift axes that change both numbers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from bridge.protocol import Trial
from bridge.tasks import shifts
from bridge.tasks.base import Axis, TaskFamily


@dataclass(frozen=True, kw_only=True)
class EpisodicFamily(TaskFamily):
    """A family with the axes ``context_length`` (episodes a trial) and ``horizon`` (steps an episode)."""

    @property
    @abstractmethod
    def trained_trial(self) -> Trial:
        """The trial of all splits but those of the two axes."""

    @property
    @abstractmethod
    def own_axes(self) -> Mapping[str, Axis]:
        """All other axes, by name."""

    @cached_property
    def axes(self) -> Mapping[str, Axis]:
        episodes, steps = self.trained_trial
        lengths = {
            "context_length": shifts.context_length(episodes),
            "horizon": shifts.horizon(steps),
        }
        return dict(sorted({**self.own_axes, **lengths}.items()))

    def trial(self, split: str) -> Trial:
        s, (episodes, steps) = self.split(split), self.trained_trial
        return Trial(
            int(self.value(s, "context_length", float(episodes))),
            int(self.value(s, "horizon", float(steps))),
        )
