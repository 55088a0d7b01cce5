"""Policies after some shots: an agent's distributions of actions on one more episode that it observes.

An agent observes the shots (track C) or explores them itself (track F). After each number of shots it adapts, and then
observes a further episode of a behaviour agent, the same after any number of shots. Its distribution of actions is kept
before each step, and the state of its memory before the first. On track C all agents observe the same shots, so that
they can be compared on the same histories.

Signs of what the agent makes of its shots can be kept, too:

* ``order``: the total variation between its policies and those after the same shots in reverse order;
* ``likelihood``: the log-likelihood of its own actions at temperature 1, in nats (track F);
* ``misfit``: how badly the shots fit what it has learned, if it has ``misfit``.

Shape letters: B trials, H steps, A actions, D features of a state.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from bridge.noise import TrialNoise
from bridge.play import record_context
from bridge.protocol import Agent, Decision, Step
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily, Tasks

DRAWS = 64
"""Draws of an agent whose decisions have no logits; its distribution is then their frequencies."""
SIGNS = ("order", "likelihood", "misfit")
"""Names of signs."""
WIDEST = 256
"""Most features of a state; wider ones are projected to this many."""


@runtime_checkable
class Represents(Protocol):
    """An agent that can give its knowledge of the task as numbers."""

    def represent(self, memory: Any, obs: Tensor) -> Float[Tensor, "B D"] | None:
        """The knowledge of each task: a hidden state, a latent, adapted weights. Only reads ``memory``.

        None for an agent that is made of another one without ``represent``.
        """
        ...


@runtime_checkable
class Doubts(Protocol):
    """An agent that can tell how badly a trial fits what it has learned."""

    def misfit(self, memory: Any) -> Float[Tensor, " B"]:
        """A number for each trial, the larger the worse the shots fit; 0 without shots. Only reads ``memory``."""
        ...


class Further(NamedTuple):
    """One more episode of a behaviour agent, as it is, and the noise that it was played under."""

    steps: list[Step]
    noise: TrialNoise

    @classmethod
    def of(
        cls, behaviour: Agent, family: TaskFamily, split: str, tasks: Tasks, noise: TrialNoise
    ) -> Further:
        """An episode that ``behaviour`` plays on each task, without a context."""
        once = family.trial(split)._replace(episodes=1)
        (steps,) = record_context(behaviour, family, split, tasks, noise, once)
        return cls(steps, noise)


class Policies(NamedTuple):
    """The policies of B trials on one episode."""

    probabilities: Float[Tensor, "B H A"]
    """Zero at steps after the end of a row's episode."""
    state: Float[Tensor, "B D"] | None
    """None for an agent without ``represent``."""
    signs: Mapping[str, Float[Tensor, " B"]] = MappingProxyType({})
    """By name; those that are kept."""
    earned: Float[Tensor, " B"] | None = None
    """Sum of rewards of the shots."""
    optimum: Float[Tensor, " B"] | None = None
    """The largest expected return of the scored episode given its task."""


class Explored:
    """The shots that an agent explored itself: their steps by episode, and how likely its actions were.

    Attributes:
        episodes: the steps of each episode, as they are.
        likelihood: sum of the log-probabilities of the actions, in nats, ``[B]``; 0 for an agent without logits.
    """

    def __init__(self, likelihood: Float[Tensor, " B"]) -> None:
        self.episodes: list[list[Step]] = []
        self.likelihood = likelihood

    def add(self, _episode: int, t: int, step: Step, decision: Decision) -> None:
        """Add a step and the decision that led to it."""
        if not t:
            self.episodes.append([])
        self.episodes[-1].append(step)
        if decision.logits is not None:
            log_prob = decision.logits.float().log_softmax(-1)
            chosen = log_prob.gather(1, step.action[:, None])[:, 0]
            self.likelihood = self.likelihood + torch.where(step.acted, chosen, 0.0)


def policies(
    agent: Agent,
    actions: int,
    memory: Any,
    steps: Sequence[Step],
    rng: Rows,
    *,
    episode: int,
    horizon: int,
) -> Policies:
    """The policies of an agent on an episode that it observes. Consumes ``memory``.

    A latent that is drawn anew before each episode (PEARL) is drawn once. Without logits the distribution is that of
    ``DRAWS`` draws, so that it is an estimate.

    Args:
        agent: the agent.
        actions: the number of actions.
        memory: the agent's memory before the episode.
        steps: the episode, as the agent observes it.
        rng: the agent's noise.
        episode: number of the episode in its trial.
        horizon: most steps of an episode.
    """
    memory = agent.begin(memory, rng.at("begin"), episode=episode)
    state, kept = None, torch.zeros(len(rng), horizon, actions, device=rng.device)
    for t, step in enumerate(steps):
        if not t and isinstance(agent, Represents):
            state = sketched(agent.represent(memory, step.obs))
        chances = _probabilities(agent, memory, step.obs, rng.at("act", t), actions)
        kept[:, t] = chances * step.acted[:, None]
        memory = agent.observe(memory, step)
    return Policies(kept, state)


def _probabilities(
    agent: Agent, memory: Any, obs: Tensor, rng: Rows, actions: int
) -> Float[Tensor, "B A"]:
    decision = agent.act(memory, obs, rng, explore=True)
    if decision.logits is not None:
        return decision.logits.float().softmax(-1)
    drawn = (agent.act(memory, obs, rng.at(draw), explore=True).action for draw in range(DRAWS))
    return torch.stack([one_hot(action, actions) for action in drawn]).float().mean(0)


def sketched(state: Float[Tensor, "B D"] | None) -> Float[Tensor, "B d"] | None:
    """The state, projected to ``WIDEST`` features if it is wider.

    Projections are random, the same for all states of a width, and preserve inner products up to a relative error of
    about 1 / sqrt(``WIDEST``) (Johnson & Lindenstrauss 1984).
    """
    if state is None or (width := state.shape[1]) <= WIDEST:
        return state
    rows = Rows.of("sketch", torch.arange(width, device=state.device))
    return state @ (rows.normal(WIDEST).to(state) / WIDEST**0.5)


def moved(ours: Policies, theirs: Policies) -> Float[Tensor, " B"]:
    """The total variation between two policies on the same episode, a mean over its steps."""
    away = (ours.probabilities - theirs.probabilities).abs().sum(-1) / 2
    return away.sum(1) / ours.probabilities.sum(-1).sum(1).clamp(min=1)


class PolicyDetail:
    """The policies of every trial of an evaluation, with what the shots and the scored episode earn.

    Args:
        signs: names of the signs that are kept, too.
    """

    def __init__(self, signs: Collection[str] = ()) -> None:
        self.signs = signs
        self._rows: list[dict[str, Tensor]] = []

    def keep(
        self,
        trials: Int[Tensor, " B"],
        shots: int,
        found: Policies,
        regret: Float[Tensor, " B"],
    ) -> None:
        """Keep the policies of ``trials`` after a number of shots, with the regret of the scored episode."""
        assert found.earned is not None
        assert found.optimum is not None
        row = {
            "trial": trials,
            "shots": torch.full_like(trials, shots),
            "earned": found.earned,
            "regret": regret,
            "optimum": found.optimum,
            "policy": found.probabilities.flatten(1),
            **found.signs,
        }
        self._rows.append(row if found.state is None else row | {"state": found.state})

    def rows(self) -> dict[str, np.ndarray]:
        """One row a trial and number of shots: ``trial``, ``shots``, ``earned``, ``regret``, ``optimum``, ``policy``
        (H x A probabilities), and perhaps ``state`` and signs."""
        return {
            name: torch.cat([row[name] for row in self._rows]).cpu().numpy()
            for name in (self._rows[0] if self._rows else {})
        }
