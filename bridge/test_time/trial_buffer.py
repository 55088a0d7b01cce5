"""The buffer of a trial's transitions, for agents that learn within the trial.

Places are empty (not ``live``) after the early end of an episode, and in episodes to come. A sequence model reads the
live steps alone, one after another: ``packed`` puts them in this order, and ``unpacked`` puts its outputs back.

Shape letters: B trials, E episodes, H steps, T live steps of the longest trial.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge import memory as tree
from bridge.protocol import Step, Trial
from bridge.tasks.base import Space


class TrialBuffer(NamedTuple):
    """The steps of a trial by episode. Empty places have reward 0 and both flags False."""

    obs: Tensor
    action: Tensor
    reward: Float[Tensor, "B E H"]
    next_obs: Tensor
    terminated: Bool[Tensor, "B E H"]
    truncated: Bool[Tensor, "B E H"]
    live: Bool[Tensor, "B E H"]

    @classmethod
    def empty(cls, observation: Space, action: Space, trial: Trial, like: Tensor) -> TrialBuffer:
        """An empty buffer for a whole trial of every row of ``like``."""

        def zeros(dtype: torch.dtype, shape: tuple[int, ...] = ()) -> Tensor:
            return torch.zeros(len(like), *trial, *shape, dtype=dtype, device=like.device)

        return cls(
            obs=zeros(observation.dtype, observation.shape),
            action=zeros(action.dtype, action.shape),
            reward=zeros(torch.float32),
            next_obs=zeros(observation.dtype, observation.shape),
            terminated=zeros(torch.bool),
            truncated=zeros(torch.bool),
            live=zeros(torch.bool),
        )

    @property
    def trial(self) -> Trial:
        """Episodes and steps for which there are places."""
        return Trial(*self.live.shape[1:])

    @property
    def end(self) -> Float[Tensor, "*batch"]:
        """1 if the step ended its episode, by termination or time-out; else 0."""
        return (self.terminated | self.truncated).to(self.reward.dtype)

    def record(self, step: Step, episode: Int[Tensor, " B"]) -> None:
        """Add a step of every row that acted to the row's episode, in place."""
        row = step.acted.nonzero().squeeze(-1)
        time = self.live[row, episode[row]].sum(-1)
        place = (row, episode[row], time)
        for recorded, new in zip(self[:-1], step[:6], strict=True):
            recorded[place] = new[row].to(recorded.dtype)
        self.live[place] = True

    def clear(self, episode: int | slice = slice(None)) -> None:
        """Empty the places of an episode, or of all, in place."""
        for part in (self.reward, self.terminated, self.truncated, self.live):
            part[:, episode] = 0

    def first(self, episodes: int) -> TrialBuffer:
        """The buffer of the first ``episodes`` episodes, without places for more."""
        return TrialBuffer(*(part[:, :episodes] for part in self))

    def steps(self, episode: int) -> list[Step]:
        """The steps of one episode, up to the last one that is live in any row."""
        longest = int(self.live[:, episode].any(0).sum())
        return [Step(*(part[:, episode, t] for part in self)) for t in range(longest)]

    def packed(self) -> TrialBuffer:
        """The same steps as ``[B, T, ...]``, the live ones of each row first."""
        in_turn = TrialBuffer(*(part.flatten(1, 2) for part in self))
        return tree.places(in_turn, live_first(in_turn.live))

    def unpacked(self, outputs: Float[Tensor, "B T A"]) -> Float[Tensor, "B E H A"]:
        """Outputs at packed steps, put at the places of these steps; anything finite at empty places."""
        live = self.live.flatten(1)
        place = (live.cumsum(1) - 1).clamp(min=0)
        return tree.places(outputs, place).unflatten(1, self.live.shape[1:])


def live_first(live: Bool[Tensor, "B S"]) -> Int[Tensor, "B T"]:
    """Places in each row, those of live steps first and in their order; T is at least 1."""
    return (~live).sort(dim=1, stable=True).indices[:, : max(1, int(live.sum(1).max()))]
