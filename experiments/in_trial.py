"""A trained run with gradient steps at test: ``lora_reward:run=RUN,inner_steps=20``.

The name says what is tuned and by what: ``lora`` (adapters; transformers), ``head`` (the last layer; transformers) or
``full`` (all weights; any learned method), by ``reward`` or ``demos``. ``icl_then_lora`` tunes adapters by reward in
those trials alone that go worse than usual.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bridge import config
from bridge.config import Trials
from bridge.detection.low_returns import below, return_quantile
from bridge.errors import UserError
from bridge.protocol import Agent
from bridge.tasks.base import TaskFamily
from bridge.test_time.agent import FineTuned, GradientSteps, Stepping, Tunable, card_of
from bridge.test_time.weights import PerTrialWeights, TrialWeights
from experiments import training
from experiments.registry import TEST_TIME_METHODS, settings
from llm_adapt import lora
from llm_adapt.in_context import InContext


@dataclass(frozen=True, kw_only=True)
class Full(GradientSteps):
    """All weights."""

    run: str = ""
    """The folder of a trained run."""

    def tuner_of(self, agent: Tunable) -> TrialWeights:
        """What each trial has of its own."""
        return PerTrialWeights(agent.policy_modules)


@dataclass(frozen=True, kw_only=True)
class Head(Full):
    """The layer that says what to do."""

    def tuner_of(self, agent: Tunable) -> TrialWeights:
        """What each trial has of its own."""
        return PerTrialWeights(("actor",))


@dataclass(frozen=True, kw_only=True)
class Lora(lora.Config):
    """Adapters."""

    run: str = ""
    """The folder of a trained run."""

    def tuner_of(self, agent: Any) -> TrialWeights:
        """What each trial has of its own."""
        if not isinstance(agent, InContext):
            raise UserError(
                f"{agent.card.method} is no transformer, and adapters are for these. Take full_reward."
            )
        return self.tuner(agent.policy)


@dataclass(frozen=True, kw_only=True)
class Switch(Lora):
    """Adapters where they are needed."""

    quantile: float = 0.05
    """Share of trials of id_val that are worse than what is called usual."""
    trials: Trials = 256
    """Of id_val, played to know that."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_numbers("from 0 to 1", "quantile")
        self.check_numbers("1 or more", "trials")


def agent(spec: str, family: TaskFamily) -> Agent:
    """The agent that ``spec`` names.

    Raises:
        UserError: no run, one of a method that cannot be tuned so, or settings that make no sense.
    """
    name, values = config.split_spec(spec)
    chosen = settings(spec, TEST_TIME_METHODS[name])
    if not chosen.run:
        raise UserError(f"{name} tunes a trained run. Name its folder: {name}:run=RUN")
    if training.is_tuned(chosen.run):
        raise UserError(
            f"{chosen.run} is tuned already, for a whole family. Tune the run that it came from."
        )
    base: Any = training.load_agent(chosen.run, family)
    if name == "full_reward" and isinstance(base, Stepping):
        if others := values.keys() - {"run", "inner_steps"}:
            raise UserError(
                f"{base.card.method} takes gradient steps of its own kind, and only inner_steps is for it. Leave "
                f"{', '.join(sorted(others))} out of {spec!r}."
            )
        return base.with_steps(chosen.inner_steps)
    if isinstance(base, FineTuned):
        raise UserError(
            f"{base.card.method} is tuned in its own way. Take full_reward, or a run of its base."
        )
    if not isinstance(base, Tunable):
        raise UserError(
            f"{chosen.run} is of {base.card.method}, which cannot be tuned so. Take rl2, pearl or icl_*."
        )
    tuner = chosen.tuner_of(base)
    rows_to_adapt = None
    if isinstance(chosen, Switch):
        rows_to_adapt = below(_usual(chosen.run, family, chosen.quantile, chosen.trials))
    return FineTuned(
        base,
        tuner,
        chosen,
        card_of(base, tuner, name),
        TEST_TIME_METHODS[name].signal,
        rows_to_adapt,
    )


@functools.cache
def _usual(run: str, family: TaskFamily, quantile: float, trials: int) -> Tensor:
    """What is usual for a run at home, where its actions are drawn as it was trained."""
    return return_quantile(
        training.load_agent(run, family), family, quantile=quantile, trials=trials
    )
