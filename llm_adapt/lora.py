"""LoRA few-shot fine-tuning (Hu et al. 2021, arXiv 2106.09685) in a trial: the transformer track's mirror of MAML.

A pretrained transformer policy plays, and takes gradient steps at test in low-rank adapters that each trial has of its
own; the base stays as it is. The signal is MAML's, the trial's own rewards (``reward``), or demonstrations that are
shown (``demos``). What the policy reads it goes on reading: a base that adapts in context does so, too, and what is
tuned is how it reads.

Deviations from the paper, which fine-tunes large language models on a task's training set:
 1. Every trial has adapters of its own, and all of them are tuned in one pass (``llm_adapt/low_rank.py``).
 2. The data are a trial's few episodes, in their order, with policy gradients or cloning as losses
    (``bridge/test_time/agent.py``).
 3. No dropout, and no warm-up of the learning rate: there are a few steps only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.config import Width
from bridge.errors import UserError
from bridge.protocol import Learner
from bridge.tasks.base import TaskFamily
from bridge.test_time.agent import FineTuned, card_of
from bridge.test_time.settings import GradientSteps, Signal
from bridge.test_time.weights import Combined, PerTrialWeights, TrialWeights
from bridge.training.workers import Workers
from llm_adapt.in_context import InContext
from llm_adapt.low_rank import BatchedLora, PretrainedLora, load, targets_of
from llm_adapt.policy import TransformerPolicy


@dataclass(frozen=True, kw_only=True)
class Config(GradientSteps):
    """Which adapters, and how they are moved."""

    rank: Width = 8
    """r of each adapter."""
    alpha: int = 16
    """What updates are multiplied by, times r."""
    targets: str = ""
    """Ends of the names of adapted modules, joined by +; empty: queries and values of attention."""
    embedding: bool = False
    """Whether the input embedding is a trial's own, too: without it a base reads rewards as it always did."""
    adapter: str = ""
    """Where every trial's adapter begins: a folder of peft's, as ``metabridge finetune`` writes, with a rank, alpha and
    targets of its own. Empty: from one that changes nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_numbers("1 or more", "rank", "alpha")
        if self.adapter and (self.rank, self.alpha, self.targets) != (
            Config.rank,
            Config.alpha,
            Config.targets,
        ):
            raise UserError(
                f"adapter={self.adapter} settles rank, alpha and targets. Leave these out."
            )

    def tuner(self, policy: TransformerPolicy) -> TrialWeights:
        """What each trial has of its own.

        Raises:
            UserError: a module that the policy does not have, a rank that one has no room for, or an adapter of another
                policy.
        """
        if self.adapter:
            adapters: TrialWeights = PretrainedLora(*load(policy, Path(self.adapter)))
        else:
            targets = tuple(self.targets.split("+")) if self.targets else targets_of(policy)
            adapters = BatchedLora(rank=self.rank, alpha=self.alpha, targets=targets)
            adapters.modules(policy)  # refused now rather than in a trial
        return Combined((adapters, PerTrialWeights(("embed",)))) if self.embedding else adapters


def lora(agent: InContext, config: Config, signal: Signal) -> FineTuned:
    """An in-context agent with adapters."""
    tuner = config.tuner(agent.policy)
    return FineTuned(agent, tuner, config, card_of(agent, tuner, f"lora_{signal}"), signal)


class LoraLearner:
    """Pretrains the base, by the base's own learner; its agent is tuned at test."""

    def __init__(
        self,
        family: TaskFamily,
        config: Any,
        *,
        seed: int,
        workers: Workers | None = None,
        base: Callable[..., Learner],
        signal: Signal,
    ) -> None:
        self.base, self.config, self.signal = (
            base(family, config, seed=seed, workers=workers),
            config,
            signal,
        )
        self.agent()  # adapters that do not fit are refused before anything is trained

    @property
    def env_steps(self) -> int:
        """Environment steps of pretraining."""
        return self.base.env_steps

    @property
    def grad_steps(self) -> int:
        """Steps of the optimiser in pretraining."""
        return self.base.grad_steps

    def update(self, spent: float = 0.0) -> Mapping[str, float]:
        """The base's."""
        return self.base.update(spent)

    def state_dict(self) -> dict[str, Any]:
        """The base's."""
        return self.base.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Into the base."""
        self.base.load_state_dict(state)

    def agent(self) -> FineTuned:
        """The policy as trained so far, and how it is tuned."""
        agent: Any = self.base.agent()
        return lora(agent, self.config, self.signal)


def with_base(base: type[Any]) -> type[Any]:
    """The configuration of a base, and of how it is tuned."""

    def check(self: Any) -> None:
        base.__post_init__(self)
        Config.__post_init__(self)

    made = dataclasses.make_dataclass(
        "Config",
        [],
        bases=(base, Config),
        namespace={"__post_init__": check},
        frozen=True,
        kw_only=True,
    )
    made.__doc__ = f"{base.__doc__} {Config.__doc__}"
    return made
