"""The contract between agents, learners and whoever plays them: adaptation is memory.

Whatever a method does when it meets a new task (move a hidden state, sharpen a posterior, take gradient steps, fill a
cache), it does to one value, its *memory*, through five verbs. So one evaluator plays them all. This module holds the
types only; the rules are checks in ``bridge.conformance`` and are told in ``docs/architecture.md``.

Shape letters: B trials, K episodes, H steps, A actions, D features. Every leaf of a memory leads with B.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.rng import Rows

Memory = TypeVar("Memory")
ClueKind = Literal["nothing", "id", "text", "task"]


class Trial(NamedTuple):
    """Upper bounds of one trial, as python integers: caches and planners need them before play."""

    episodes: int
    horizon: int


class Clues(NamedTuple):
    """What an agent is told about its task before play; the fields that its card does not ask for stay None."""

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
    """This row acted in this step (True on the step that ends its episode); None where no episode can end early."""
    log_prob: Float[Tensor, " B"] | None = None
    """The behaviour's log-probability of the action, where known."""


class Decision(NamedTuple):
    """What ``act`` decides: an action, the distribution that it came from, and a cache for ``observe``."""

    action: Tensor
    logits: Float[Tensor, "B A"] | None = None
    params: Tensor | None = None
    carry: Any = None


@dataclass(frozen=True, kw_only=True)
class Card:
    """What every result says of the agent that made it; a column each."""

    method: str
    clue: ClueKind = "nothing"
    supervision: str = "none"
    """What training saw: none, reward (perhaps with the task in the critic), histories, optimal_actions, or prior (the
    task distribution itself)."""
    decode_rule: str = "sample"
    """How a distribution became an action: sample, argmax, a temperature (0.5), or rule (a reference's own)."""
    exact_reference: str = ""
    """References only: exact (proved optimal for its model), near (an approximation) or heuristic."""
    reference: bool = False
    """A reference may see the task; a learned agent may not."""
    selection_rule: str = "none"
    tuning_configs: int = 1
    params_total: int = 0
    params_trained: int = 0

    @property
    def temperature(self) -> float:
        """Of the draws: 1 where a distribution is sampled as it is, 0 for its likeliest action."""
        return (
            _TEMPERATURES[self.decode_rule]
            if self.decode_rule in _TEMPERATURES
            else float(self.decode_rule)
        )


_TEMPERATURES = {"sample": 1.0, "argmax": 0.0}


def decodes(rule: str) -> bool:
    """Whether ``rule`` says how to decode a distribution: by one of its names, or by a temperature of 0 or more."""
    try:
        return rule in _TEMPERATURES or 0 <= float(rule) < math.inf
    except ValueError:
        return False


@runtime_checkable
class Agent(Protocol[Memory]):
    """A frozen, trained method that can play. Its state about a task is the memory, never a field of its own."""

    card: Card

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """Nothing known yet but the clues; ``len(rng)`` trials begin."""
        ...

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """Before each episode, the first too: redraw a latent, plan. Consumes ``memory``."""
        ...

    def act(self, memory: Memory, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """Decide; reads only. ``explore`` is False in frozen scoring."""
        ...

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """The only writer within an episode. With ``act``'s carry or without it the result is the same."""
        ...

    def adapt(self, memory: Memory, rng: Rows, *, episode: int, last: bool) -> Memory:
        """After an episode: learning. ``last``: scoring follows, so use what is left. Consumes ``memory``."""
        ...


@runtime_checkable
class Learner(Protocol):
    """What trains an agent: one readable ``update``, and a state that saves and restores exactly."""

    env_steps: int
    """Every environment step paid for so far, inner loops included."""
    grad_steps: int
    """Every step of an optimiser so far."""

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """One meta-iteration; returns its metrics. ``spent``: the share of the budget used so far, for schedules."""
        ...

    def agent(self) -> Agent:
        """The agent as trained so far, frozen."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a restart needs, bit for bit: weights, optimisers, counters."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        ...
