"""LoRA few-shot fine-tuning (Hu et al. 2021, arXiv 2106.09685) in a trial: the transformer track's mirror of MAML.

A pretrained transformer policy plays and takes gradient steps at test in low-rank adapters, of which each trial has its
own; the base does not change. The signal is MAML's, the trial's own rewards (``reward``), or demonstrations given as
context (``demos``). The policy keeps its context: a base that adapts in context continues to do so.

Deviations from the paper, which fine-tunes large language models on a task's training set:
 1. Every trial has adapters of its own, and all of them are trained in one pass (``llm_adapt/low_rank.py``).
 2. The data are a trial's few episodes in their order, with a policy gradient or cloning as loss
    (``bridge/test_time/agent.py``).
 3. No dropout, and no warm-up of the learning rate, since there are few steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.config import Count, Width
from bridge.errors import UserError
from bridge.protocol import Exportable
from bridge.tasks.base import TaskFamily
from bridge.test_time.agent import FineTuned, card_of
from bridge.test_time.contract import Tunable
from bridge.test_time.settings import GradientSteps, Signal
from bridge.test_time.weights import Combined, PerTrialWeights, TrialWeights
from bridge.training.workers import Workers
from llm_adapt.low_rank import PretrainedLora, batched, load
from llm_adapt.policy import TransformerPolicy


@dataclass(frozen=True, kw_only=True)
class Config(GradientSteps):
    """Adapters and their gradient steps."""

    rank: Width = 8
    """Rank r of each adapter."""
    alpha: Count = 16
    """Scale of the low-rank updates, times r."""
    targets: str = ""
    """Ends of the names of adapted modules, joined by +; empty: queries and values of attention."""
    embedding: bool = False
    """Train the input embedding of each trial as well; otherwise a base reads rewards as in pretraining."""
    adapter: str = ""
    """Initial adapter of every trial: a folder of peft's, as ``metabridge finetune`` writes, with a rank, alpha and
    targets of its own. Empty: an adapter that changes nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        defaults = (Config.rank, Config.alpha, Config.targets)
        if self.adapter and (self.rank, self.alpha, self.targets) != defaults:
            raise UserError(
                f"adapter={self.adapter} fixes rank, alpha and targets. Leave these out."
            )

    def trial_weights(self, policy: Any) -> TrialWeights:
        """The weights that each trial has of its own.

        Raises:
            UserError: the policy has no such module, the rank does not fit it, or the adapter is of another policy.
        """
        if self.embedding and not isinstance(policy, TransformerPolicy):
            raise UserError(
                "A language model has no input embedding of a policy. Leave embedding out."
            )
        if self.adapter:
            adapters: TrialWeights = PretrainedLora(*load(policy, Path(self.adapter)))
        else:
            adapters = batched(policy, rank=self.rank, alpha=self.alpha, targets=self.targets)
        return Combined((adapters, PerTrialWeights(("embed",)))) if self.embedding else adapters


def lora(agent: Tunable, config: Config, signal: Signal) -> FineTuned:
    """An in-context agent with adapters."""
    weights = config.trial_weights(agent.network)
    return FineTuned(agent, weights, config, card_of(agent, weights, f"lora_{signal}"), signal)


class LoraLearner:
    """The learner of the base, whose agent gets adapters: all that is saved and counted is the base's."""

    def __init__(
        self,
        family: TaskFamily,
        config: Any,
        *,
        seed: int,
        workers: Workers | None = None,
        base: Callable[..., Exportable],
        signal: Signal,
    ) -> None:
        self.base = base(family, config, seed=seed, workers=workers)
        self.config, self.signal = config, signal
        self.agent()  # adapters that do not fit are refused before anything is trained

    @property
    def env_steps(self) -> int:
        """Environment steps of pretraining."""
        return self.base.env_steps

    @property
    def grad_steps(self) -> int:
        """Optimiser steps of pretraining."""
        return self.base.grad_steps

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """One update of the base."""
        return self.base.update(spent)

    def state_dict(self) -> dict[str, Any]:
        """The state of the base."""
        return self.base.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of the base."""
        self.base.load_state_dict(state)

    def agent_state(self) -> dict[str, Any]:
        """The part of the base's state that its agent is made of."""
        return self.base.agent_state()

    def load_agent_state(self, state: Mapping[str, Any]) -> None:
        """Restore what the base's agent needs."""
        self.base.load_agent_state(state)

    def agent(self) -> FineTuned:
        """The base as trained so far, with adapters."""
        agent: Any = self.base.agent()
        return lora(agent, self.config, self.signal)


def with_base(base: type[Any]) -> type[Any]:
    """A configuration class with the fields of a base's and those of its adapters."""
    made = dataclasses.make_dataclass("Config", [], bases=(base, Config), frozen=True, kw_only=True)
    made.__doc__ = f"{base.__doc__} {Config.__doc__}"
    return made
