"""Weights carried over: an agent is tuned on one task, and then begins a trial on another one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import clues as clues_of
from bridge.play import play_trial
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily
from bridge.test_time.agent import FineTuned, Memory

_TASKS = 1 << 20
"""Tasks of a split without a finite list that are drawn from."""


class CarriedOver:
    """An agent in the weights that gradient steps on another task have left. It takes no more of them.

    Before its trial it explores a task of ``plan.split`` for ``plan.shots`` episodes and takes its gradient steps, the
    last of them after the last episode. Then it forgets all but its weights.

    Args:
        agent: the agent with gradient steps.
        family: the family of both tasks.
        plan: split and shots of the first task.
    """

    def __init__(self, agent: FineTuned, family: TaskFamily, plan: Plan) -> None:
        self.explorer, self.agent = agent, agent.with_steps(0)
        self.family, self.plan = family, plan

    @property
    def card(self) -> Card:
        """The agent's card."""
        return self.agent.card

    @card.setter
    def card(self, card: Card) -> None:
        self.agent.card = card

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        split, shots = self.plan.split, self.plan.shots
        size = self.family.support(split) or _TASKS
        tasks = self.family.sample(split, rng.at("task").integers(size))
        noise = TrialNoise(env=rng.at("first", "env"), agent=rng.at("first", "agent"))
        first = Trial(shots, self.family.trial(split).horizon)
        known = clues_of(self.explorer, self.family, split, tasks)
        memory = self.explorer.start(known, first, noise.agent.at("start"))
        for played in play_trial(self.explorer, self.family, tasks, memory, noise, first):
            memory = played.memory
        rng_last = noise.agent.at(shots - 1, "adapt")
        memory = self.explorer.adapt(memory, rng_last, episode=shots - 1, last=True)
        return self.agent.afresh(memory, clues, trial, rng)

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        return self.agent.begin(memory, rng, episode=episode)

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        return self.agent.act(memory, obs, rng, explore=explore)

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        return self.agent.observe(memory, step, carry)

    def adapt(self, memory: Memory, rng: Rows, *, episode: int, last: bool) -> Memory:
        return self.agent.adapt(memory, rng, episode=episode, last=last)
