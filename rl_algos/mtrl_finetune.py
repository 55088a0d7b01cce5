"""Multi-task pretraining, then fine-tuning at test: the baseline that meta-learning has to beat.

Mandi et al. 2022 (arXiv 2206.03271, "On the Effectiveness of Fine-tuning Versus Meta-reinforcement Learning") find that
it often does not. Pretraining is that of ``mtrl``. In a trial every task starts from the policy for an unknown task and
takes MAML's gradient steps (``rl_algos/inner_loop.py``) after every ``episodes_per_step`` episodes.

Deviation from the paper: on-policy PPO and policy gradients instead of off-policy learning from images.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from bridge.errors import UserError
from bridge.protocol import Agent
from bridge.training.learner import trained_card
from bridge.training.search_space import LogUniform, Space
from rl_algos import mtrl
from rl_algos.inner_loop import GradientAgent, InnerConfig, InnerLoop


@dataclass(frozen=True, kw_only=True)
class Config(mtrl.Config, InnerConfig):
    """Pretraining and adaptation; advantages are computed in the same way in both."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shared == "nothing":
            raise UserError(
                "Specialists have no policy for an unknown task to fine-tune. Use shared=all or trunk."
            )


SPACE: Space = {**mtrl.SPACE, "inner_lr": LogUniform(0.01, 3.0)}
"""Search space."""


class MtrlFinetuneLearner(mtrl.MtrlLearner):
    """The learner of ``mtrl``, whose agent adapts."""

    config: Config

    def agent(self) -> Agent:
        """A copy of the policy for an unknown task, with MAML's gradient steps."""
        policy = copy.deepcopy(self.table.net)
        unknown = self.table.rows(torch.tensor([self.table.known], device=self.workers.device))
        policy.load_state_dict({name: row[0] for name, row in unknown.items()}, strict=False)
        inner = InnerLoop(policy, self.config).requires_grad_(False)
        return GradientAgent(inner, trained_card("mtrl_finetune", policy.parameters()))
