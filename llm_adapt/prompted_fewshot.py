"""LoRA few-shot fine-tuning of a prompted language model at test, the text twin of ``llm_adapt/lora.py``.

Every trial has an adapter of its own on the frozen model. The model plays by its prompt, and after some episodes it
takes gradient steps on the trial's own rewards (``bridge/test_time/agent.py``), with which the whole trial is read
again: a policy gradient of the labels that it chose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bridge.config import CountOrZero, Positive
from bridge.tasks.base import TaskFamily
from bridge.test_time.agent import FineTuned
from llm_adapt import lora, prompted
from llm_adapt.lora import lora as with_adapters
from llm_adapt.prompted import Prompted


@dataclass(frozen=True, kw_only=True)
class Config(lora.Config, prompted.Config):
    """A language model with adapters of each trial's own."""

    display_name: ClassVar[str] = "LoRA few-shot fine-tuning"

    inner_steps: CountOrZero = 4
    """Gradient steps each time: each reads the whole trial, forwards and backwards."""
    inner_lr: Positive = 1e-2
    """Learning rate."""

    def agent(self, family: TaskFamily, name: str, trained: Prompted | None = None) -> FineTuned:
        """The agent on a family; arguments and errors are those of ``prompted.Config.agent``."""
        return with_adapters(super().agent(family, name, trained), self, "reward")


@dataclass(frozen=True, kw_only=True)
class SmolLm2(Config):
    """SmolLM2 with adapters of each trial's own."""

    model: str = "smollm2"
