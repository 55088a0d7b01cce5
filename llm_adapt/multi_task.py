"""Multi-task transformer: one policy for all tasks, whose context is the current episode only.

It is trained by PPO on single episodes of training tasks, as ``llm_adapt/icl_rl.py`` is on whole trials. It does not
adapt from episode to episode: it is the base for adaptation by fine-tuning alone (``lora_reward_mt``), as multi-task
pretraining is for Mandi et al. 2022 (arXiv 2206.03271).

Deviation from usual multi-task RL: the policy does not get the id of its task, so that it can be played on unknown
tasks.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from bridge.config import CountOrZero
from bridge.errors import UserError
from bridge.rng import Rows
from bridge.test_time.trial_buffer import TrialBuffer
from llm_adapt import icl_rl
from llm_adapt.icl_rl import SPACE, IclRlLearner
from llm_adapt.in_context import InContext, Memory

__all__ = ["SPACE", "Config", "MtLearner", "OneEpisode"]


@dataclass(frozen=True, kw_only=True)
class Config(icl_rl.Config):
    """Policy and training of in-context RL, on trials of one episode."""

    display_name: ClassVar[str] = "Multi-task RL"

    episodes: CountOrZero = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.episodes != 1:
            raise UserError(
                f"mt clears its context after each episode: it needs episodes=1, found {self.episodes}. Choose icl_rl, "
                "which learns across episodes."
            )


class OneEpisode(InContext):
    """An in-context agent that starts every episode with an empty context."""

    reads: ClassVar[Literal["trial", "episode"]] = "episode"

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        cache = memory.cache._replace(length=torch.zeros_like(memory.cache.length))
        return Memory(cache, self.policy.layout.nothing_yet(rng))

    def policy_outputs(self, memory: Memory, buffer: TrialBuffer) -> Float[Tensor, "B E H A"]:
        """The policy's output at every step, with each episode read as a trial of its own."""
        trials = TrialBuffer(*(part.flatten(0, 1)[:, None] for part in buffer))
        outputs = super().policy_outputs(memory, trials)
        return outputs.squeeze(1).unflatten(0, buffer.live.shape[:2])


class MtLearner(IclRlLearner):
    """PPO on single episodes."""

    def agent(self) -> OneEpisode:
        return OneEpisode(self.policy, dataclasses.replace(super().agent().card, method="mt"))
