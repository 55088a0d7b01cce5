"""A trained run with gradient steps at test: ``lora_reward:run=RUN,inner_steps=20``.

The name holds the weights that move, and the signal: ``lora`` (adapters; transformers), ``head`` (the last layer;
transformers) or ``full`` (all weights; any method whose agents read their trial), by ``reward`` or ``demos``.
``icl_then_lora`` moves adapters by reward in those trials alone whose return is lower than in training. ``handover``
lets another agent play the rest of a trial: a reference, or one of these methods on the same run.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge import config
from bridge.config import CountOrZero, Share, Trials
from bridge.detection.low_returns import Detector, below, return_quantile
from bridge.errors import UserError
from bridge.protocol import Agent
from bridge.tasks.base import TaskFamily
from bridge.test_time import handover as agents_in_turn
from bridge.test_time.agent import FineTuned, card_of
from bridge.test_time.settings import GradientSteps
from bridge.test_time.weights import PerTrialWeights, TrialWeights
from experiments.registry import TEST_TIME_METHODS
from llm_adapt import lora

if TYPE_CHECKING:
    from experiments.sources import Handover, TestTime


@dataclass(frozen=True, kw_only=True)
class Full(GradientSteps):
    """All weights."""

    run: str = ""
    """The folder of a trained run."""

    def weights_of(self, agent: Any) -> TrialWeights:
        """Return the weights that each trial has of its own."""
        return PerTrialWeights(agent.policy_modules)


@dataclass(frozen=True, kw_only=True)
class Head(Full):
    """The layer that outputs the distribution of actions."""

    def weights_of(self, agent: Any) -> TrialWeights:
        return PerTrialWeights(("actor",))


@dataclass(frozen=True, kw_only=True)
class Lora(lora.Config):
    """Adapters."""

    run: str = ""
    """The folder of a trained run."""

    def weights_of(self, agent: Any) -> TrialWeights:
        """Return the adapters that each trial has of its own."""
        return self.trial_weights(agent.network)


@dataclass(frozen=True, kw_only=True)
class Switch(Lora):
    """Adapters where they are needed."""

    quantile: Share = 0.05
    """Share of trials of id_val whose return counts as low."""
    trials: Trials = 256
    """Trials of id_val that are played to find that return."""

    def detector(self, agent: Any, family: TaskFamily) -> Detector:
        """Return a detector of trials whose return is lower than in training."""
        return below(return_quantile(agent, family, quantile=self.quantile, trials=self.trials))


@dataclass(frozen=True, kw_only=True)
class HandedOver:
    """Another agent for the rest of a trial, which has observed all of it."""

    to: str = ""
    """A reference (``ucb1``), or a method that tunes the same run at test (``lora_reward``)."""
    shots: CountOrZero = 0
    """Episodes before that; 0: half of the trial's."""
    run: str = ""
    """The folder of a trained run."""

    @property
    def second(self) -> str:
        """The spec of the agent that takes over.

        Raises:
            UserError: there is none.
        """
        if not self.to:
            raise UserError("handover needs another agent. Name it: handover:to=ucb1,run=RUN")
        return f"{self.to}:run={self.run}" if self.to in TEST_TIME_METHODS else self.to


def agent(source: TestTime) -> Agent:
    """Return the agent that ``source`` describes.

    Raises:
        UserError: the run is of a method whose weights cannot be moved so, or the settings make no sense for it.
    """
    settings, method, base = source.settings, source.base.method, source.base.agent
    if method.takes_steps:
        return _with_more_steps(source)
    if not method.can_be_tuned:
        raise UserError(
            f"{base.card.method} cannot be tuned so. Take a run of rl2, pearl or icl_*."
        )
    if isinstance(settings, Lora) and not method.transformer:
        raise UserError(
            f"{base.card.method} is no transformer, and adapters are for these. Take full_reward."
        )
    weights, detector = settings.weights_of(base), None
    if TEST_TIME_METHODS[source.name].detects:
        detector = settings.detector(base, source.family)
    card = card_of(base, weights, source.name)
    return FineTuned(base, weights, settings, card, source.signal, detector)


def handed_over(source: Handover, split: str) -> Agent:
    """Return the agent that plays by the run of ``source`` first, on ``split``.

    Raises:
        UserError: who takes over cannot play, or is given the task.
    """
    first, second = source.base.agent, source.second.load(split)
    if second.card.clue == "task":
        raise UserError(
            f"{source.settings.to} is given the task, which would end the trial's question. Hand over to another "
            "agent, such as ucb1."
        )
    ways = {way for agent in (first, second) for way in agent.card.adapts.split(", ")} - {""}
    card = dataclasses.replace(
        first.card, method=f"{source.name}_{first.card.method}", adapts=", ".join(sorted(ways))
    )
    half = max(1, source.family.trial(split).episodes // 2)
    return agents_in_turn.Handover(first, second, source.settings.shots or half, card)


def _with_more_steps(source: TestTime) -> Agent:
    """A method that takes gradient steps of its own kind (MAML), with another number of them."""
    base = source.base.agent
    if source.name != "full_reward":
        raise UserError(
            f"{base.card.method} takes gradient steps of its own kind. Take full_reward, or a run of its base."
        )
    if others := config.split_spec(source.spec)[1].keys() - {"run", "inner_steps"}:
        raise UserError(
            f"{base.card.method} takes gradient steps of its own kind, and only inner_steps is for it. Leave "
            f"{', '.join(sorted(others))} out of {source.spec!r}."
        )
    return base.with_steps(source.settings.inner_steps)
