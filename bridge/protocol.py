"""The contract between agents, learners and the code that plays them: adaptation is memory.

Whatever a method does on a new task (update a hidden state or a posterior, take gradient steps, fill a cache), it does
to one value, its *memory*, through five verbs. So one evaluator plays all methods. This module holds the types only;
``docs/architecture.md`` has the rules, and ``bridge.conformance`` checks them.

Shape letters: B trials, K episodes, H steps, A actions, D features. Every leaf of a memory leads with B.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.rng import Rows

Memory = TypeVar("Memory")
ClueKind = Literal["nothing", "id", "text", "task"]


class Trial(NamedTuple):
    """Upper bounds of one trial, as Python integers: caches and planners need them before play."""

    episodes: int
    horizon: int


class Clues(NamedTuple):
    """Information on the task that an agent gets before play. Fields that its card does not name stay None."""

    task_id: Int[Tensor, " B"] | None = None
    text: tuple[str, ...] | None = None
    task: Any = None


class Step(NamedTuple):
    """One transition of B trials. ``terminated`` (the MDP ended) and ``truncated`` (time ran out) never merge."""

    obs: Tensor
    action: Tensor
    reward: Float[Tensor, " B"]
    next_obs: Tensor
    terminated: Bool[Tensor, " B"]
    truncated: Bool[Tensor, " B"]
    live: Bool[Tensor, " B"] | None = None
    """True for rows that acted in this step, also if it ended their episode; None if no episode can end early."""
    succeeded: Bool[Tensor, " B"] | None = None
    """The simulator's own flag of success, in a family whose success is no function of the rest; else None. It is for
    scores: agents observe ``without_success`` steps."""

    @property
    def without_success(self) -> Step:
        """The step as agents may observe it."""
        return self if self.succeeded is None else self._replace(succeeded=None)

    @property
    def acted(self) -> Bool[Tensor, " B"]:
        """``live``; True everywhere if that is None."""
        return torch.ones_like(self.terminated) if self.live is None else self.live

    @property
    def end(self) -> Float[Tensor, "*batch"]:
        """1 if the step ended its episode, by termination or time-out; else 0."""
        return (self.terminated | self.truncated).to(self.reward.dtype)


class Decision(NamedTuple):
    """The output of ``act``."""

    action: Tensor
    logits: Float[Tensor, "B A"] | None = None
    """Logits of the distribution of discrete actions."""
    params: Tensor | None = None
    """Parameters of the distribution of real-valued actions."""
    carry: Any = None
    """Intermediate results that ``observe`` may reuse."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """The description of an agent. Each field but ``reference`` is a column of its results."""

    method: str
    clue: ClueKind = "nothing"
    """The clue that the agent needs."""
    supervision: str = "none"
    """Input of training: none, reward (perhaps with the task in the critic), histories, optimal_actions, or prior (the
    task distribution itself)."""
    adapts: str = ""
    """How a learned agent adapts within a trial: "context", "gradient", "context, gradient" or "nothing"; empty for
    references."""
    decode_rule: str = "sample"
    """Decoding of the distribution of actions: sample, argmax, a temperature (0.5), or rule (a reference's own)."""
    exact_reference: str = ""
    """References only: exact (proved optimal for its model), near (an approximation) or heuristic."""
    reference: bool = False
    """True for references, which may see the task; learned agents may not."""
    selection_rule: str = "none"
    """Rule by which the weights were selected, such as "last checkpoint"."""
    tuning_configs: int = 1
    """Number of configurations of the hyperparameter search."""
    params_total: int = 0
    params_trained: int = 0
    model_id: str = ""
    """The pretrained language model that decides; empty: none."""
    prompt_format_id: str = ""
    """The name and version of its prompt format."""

    @property
    def temperature(self) -> float:
        """Temperature of the draws: 1 for the distribution as it is, 0 for its likeliest action."""
        if self.decode_rule in _TEMPERATURES:
            return _TEMPERATURES[self.decode_rule]
        return float(self.decode_rule)


_TEMPERATURES = {"sample": 1.0, "argmax": 0.0}


def decodes(rule: str) -> bool:
    """True if ``rule`` decodes a distribution: sample, argmax, or a temperature of 0 or more."""
    try:
        return rule in _TEMPERATURES or 0 <= float(rule) < math.inf
    except ValueError:
        return False


@runtime_checkable
class Agent(Protocol[Memory]):
    """A frozen, trained method that can play. Its state on a task is the memory, never a field of the agent."""

    card: Card

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """The memory at the start of ``len(rng)`` trials, given the clues."""
        ...

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """Called before each episode, the first too: redraw a latent, plan. Consumes ``memory``."""
        ...

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """Choose actions; only reads ``memory``. ``explore`` is False in frozen scoring."""
        ...

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """Add a transition, the only update within an episode. Consumes ``memory``. ``carry`` changes no result."""
        ...

    def adapt(self, memory: Memory, rng: Rows, *, episode: int, last: bool) -> Memory:
        """Learn between episodes. ``last``: scoring follows, so take all steps that are left. Consumes ``memory``."""
        ...


@runtime_checkable
class Learner(Protocol):
    """The training of an agent: updates, and a state that is saved and restored exactly."""

    env_steps: int
    """Environment steps so far, inner loops included."""
    grad_steps: int
    """Optimiser steps so far."""

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """One meta-iteration; returns its metrics. ``spent``: share of the budget used so far, for schedules."""
        ...

    def agent(self) -> Agent:
        """The agent as trained so far, frozen."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state that a bitwise equal restart needs: weights, optimisers, counters."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a ``state_dict``."""
        ...


@runtime_checkable
class Exportable(Learner, Protocol):
    """A learner whose agent can be kept without the state of its training."""

    def agent_state(self) -> dict[str, Any]:
        """The part of the state that ``agent`` needs, for folders that only play."""
        ...

    def load_agent_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``agent`` needs, from an ``agent_state`` or a ``state_dict``."""
        ...
