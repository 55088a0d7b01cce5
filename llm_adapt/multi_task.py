"""Multi-task transformer: one policy for all tasks, which reads its episode and forgets it with the episode.

Trained by PPO on single episodes of training tasks, as ``llm_adapt/icl_rl.py`` is on whole trials. It does not adapt
from episode to episode: it is the base on which fine-tuning alone adapts (``lora_reward_mt``), as multi-task
pretraining is for Mandi et al. 2022 (arXiv 2206.03271).

Deviation from multi-task RL as a rule: no task is named to it, so that it can be played on unknown ones.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from bridge.errors import UserError
from bridge.rng import Rows
from bridge.test_time.trial_buffer import TrialBuffer
from llm_adapt import icl_rl
from llm_adapt.icl_rl import SPACE, IclRlLearner
from llm_adapt.in_context import InContext, Memory

__all__ = ["SPACE", "Config", "MtLearner", "OneEpisode"]


@dataclass(frozen=True, kw_only=True)
class Config(icl_rl.Config):
    """As for in-context RL, on one episode."""

    display_name: ClassVar[str] = "Multi-task RL"

    episodes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.episodes != 1:
            raise UserError(
                f"mt forgets at the end of an episode: episodes is 1, found {self.episodes}. icl_rl learns across them."
            )


class OneEpisode(InContext):
    """Begins every episode as if it were the first."""

    reads: ClassVar[Literal["trial", "episode"]] = "episode"

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        cache = memory.cache._replace(length=torch.zeros_like(memory.cache.length))
        return Memory(cache, self.policy.layout.nothing_yet(rng))

    def policy_outputs(self, memory: Memory, played: TrialBuffer) -> Float[Tensor, "B E H A"]:
        """Every episode read as a trial."""
        apart = TrialBuffer(*(part.flatten(0, 1)[:, None] for part in lived))
        return super().policy_outputs(memory, apart).squeeze(1).unflatten(0, lived.live.shape[:2])


class MtLearner(IclRlLearner):
    """PPO on episodes."""

    def agent(self) -> OneEpisode:
        """The policy as trained so far (it shares the learner's weights; copy it to keep it)."""
        made = super().agent()
        return OneEpisode(made.policy, dataclasses.replace(made.card, method="mt"))
