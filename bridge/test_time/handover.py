"""A trial that is handed over: one agent plays the first episodes, another one the rest. Both observe all of it."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from bridge.evaluation.footprint import Heavy
from bridge.play import absorbed
from bridge.protocol import Agent, Card, Clues, Decision, Step, Trial
from bridge.rng import Rows


class Memory(NamedTuple):
    """The memories of both agents, and the number of the episode."""

    first: Any
    second: Any
    episode: Int[Tensor, " B"]


class Handover:
    """Plays by one agent, and after some episodes by another one, which has observed them.

    Args:
        first: plays the first episodes.
        second: plays the others, scored ones too.
        shots: the number of episodes of the first one, 1 or more.
        card: the card.
    """

    def __init__(self, first: Agent, second: Agent, shots: int, card: Card) -> None:
        self.first, self.second, self.shots = copy.copy(first), copy.copy(second), shots
        self.card = card

    @property
    def card(self) -> Card:
        """The card. Setting it sets the decoding rule of the agents within, too, but of those that have a rule."""
        return self._card

    @card.setter
    def card(self, card: Card) -> None:
        self._card = card
        for agent in (self.first, self.second):
            if agent.card.decode_rule != "rule":
                agent.card = dataclasses.replace(agent.card, decode_rule=card.decode_rule)

    def double(self) -> Handover:
        """The same with weights in float64."""
        for agent in (self.first, self.second):
            if isinstance(agent, nn.Module):
                agent.double()
        return self

    def interval(self, trial: Trial) -> int | None:
        """Episodes between gradient steps: the shorter interval of both agents; None if none takes any."""
        every = [getattr(agent, "interval", None) for agent in (self.first, self.second)]
        return min((interval(trial) for interval in every if interval), default=None)

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        zeros = torch.zeros(len(rng), dtype=torch.int64, device=rng.device)
        first, second = (agent.start(clues, trial, rng) for agent in (self.first, self.second))
        return Memory(first, second, zeros)

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        return memory._replace(
            first=self.first.begin(memory.first, rng, episode=episode),
            second=self.second.begin(memory.second, rng, episode=episode),
            episode=torch.full_like(memory.episode, episode),
        )

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """The decision of the one that plays this episode, the same for all trials."""
        if self._is_first(memory):
            return self.first.act(memory.first, obs, rng, explore=explore)
        return self.second.act(memory.second, obs, rng, explore=explore)

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        own, other = (carry, None) if self._is_first(memory) else (None, carry)
        return memory._replace(
            first=self.first.observe(memory.first, step, own),
            second=self.second.observe(memory.second, step, other),
        )

    def absorb(self, memory: Memory, steps: list[Step]) -> Memory:
        return memory._replace(
            first=absorbed(self.first, memory.first, steps),
            second=absorbed(self.second, memory.second, steps),
        )

    def adapt(self, memory: Memory, rng: Rows, *, episode: int, last: bool) -> Memory:
        return memory._replace(
            first=self.first.adapt(memory.first, rng, episode=episode, last=last),
            second=self.second.adapt(memory.second, rng, episode=episode, last=last),
        )

    def adapt_bytes(self, trial: Trial) -> int:
        """Most bytes that a row needs in ``adapt``: the more demanding agent's."""
        needs = (a.adapt_bytes(trial) for a in (self.first, self.second) if isinstance(a, Heavy))
        return max(needs, default=0)

    def tally(self, memory: Memory) -> dict[str, Int[Tensor, " B"]]:
        """What both agents count, together."""
        total: dict[str, Int[Tensor, " B"]] = {}
        for agent, own in ((self.first, memory.first), (self.second, memory.second)):
            count = getattr(agent, "tally", None)
            for name, number in (count(own) if count else {}).items():
                total[name] = total.get(name, 0) + number
        return total

    def _is_first(self, memory: Memory) -> bool:
        return not len(memory.episode) or int(memory.episode[0]) < self.shots
