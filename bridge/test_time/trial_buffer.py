"""What a trial has lived so far, as an agent that learns from it keeps it.

Where episodes can end early, or are still to come, some places are empty (``live``). A sequence model reads the live
steps alone, one after another: ``packed`` lays them so, and ``unpacked`` lays what it said back.

Shape letters: B trials, E episodes, H steps, T live steps of the longest trial.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.protocol import Step, Trial
from bridge.tasks.base import Box, Discrete


class TrialBuffer(NamedTuple):
    """The steps of a trial by episode; reward 0 and both flags False where there is none."""

    obs: Tensor
    action: Tensor
    reward: Float[Tensor, "B E H"]
    next_obs: Tensor
    terminated: Bool[Tensor, "B E H"]
    truncated: Bool[Tensor, "B E H"]
    live: Bool[Tensor, "B E H"]

    @classmethod
    def empty(
        cls, observation: Discrete | Box, action: Discrete | Box, trial: Trial, like: Tensor
    ) -> TrialBuffer:
        """Room for a whole trial of every row of ``like``."""
        reward = torch.zeros(len(like), trial.episodes, trial.horizon, device=like.device)

        def room(space: Discrete | Box) -> Tensor:
            if isinstance(space, Discrete):
                return torch.zeros_like(reward, dtype=torch.int64)
            return reward[..., None].repeat(1, 1, 1, len(space.low))

        never = reward.bool()
        return cls(
            room(observation),
            room(action),
            reward,
            room(observation),
            never,
            never.clone(),
            never.clone(),
        )

    def record(
        self,
        step: Step,
        episode: Int[Tensor, " B"],
        time: Int[Tensor, " B"],
        lived: Bool[Tensor, " B"],
    ) -> None:
        """One more step of every row that ``lived`` it, in place."""
        row = lived.nonzero().squeeze(-1)
        place = (row, episode[row], time[row])
        for kept, new in zip(self[:-1], step[:6], strict=True):
            kept[place] = new[row].to(kept.dtype)
        self.live[place] = True

    def first(self, episodes: int) -> TrialBuffer:
        """That of the first ``episodes`` episodes, without room for more."""
        return TrialBuffer(*(part[:, :episodes] for part in self))

    def steps(self, episode: int) -> list[Step]:
        """One episode, as it was observed, up to the last step that any row lived."""
        longest = int(self.live[:, episode].any(0).sum())
        return [Step(*(part[:, episode, t] for part in self)) for t in range(longest)]

    def order(self) -> Int[Tensor, "B T"]:
        """Which of its E H places each row's live steps have, in their order; then places that are empty."""
        return live_first(self.live.flatten(1))

    def packed(self) -> TrialBuffer:
        """The same steps as ``[B, T, ...]``, the live ones of each row first."""
        order = self.order()
        row = torch.arange(len(order), device=order.device)[:, None]
        return TrialBuffer(*(part.flatten(1, 2)[row, order] for part in self))

    def unpacked(self, said: Float[Tensor, "B T A"]) -> Float[Tensor, "B E H A"]:
        """What was said at packed steps, where these steps are; at empty places something finite."""
        live = self.live.flatten(1)
        at = (live.cumsum(1) - 1).clamp(min=0)
        row = torch.arange(len(at), device=at.device)[:, None]
        return said[row, at].unflatten(1, self.live.shape[1:])


def live_first(live: Bool[Tensor, "B S"]) -> Int[Tensor, "B T"]:
    """Places in a row, those of live steps first and in their order, as many as the longest row needs (1 at least)."""
    return (~live).sort(dim=1, stable=True).indices[:, : max(1, int(live.sum(1).max()))]
