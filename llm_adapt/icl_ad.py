"""Algorithm distillation (Laskin et al. 2022, arXiv 2210.14215): imitate how a learner learns.

Trained to predict a learner's next action from its whole history so far, a policy has to improve within its context as
the learner did, and goes on doing so on new tasks.

Deviations from the paper:
 1. One token a step (``llm_adapt/tokens.py``; the original: one each for observation, action and reward).
 2. The learners are the references that ``bridge/references`` has: posterior sampling, UCB, Q-learning. (The original:
 actor-critics and DQN.)
 3. Histories are cut to two windows: later learning is not seen, unless ``episodes`` asks for it.
 4. A window that would begin before its history begins with it, so that beginnings are seen as often as the rest.
 5. At play the context grows with every step and slides beyond its window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from llm_adapt import imitation
from llm_adapt.histories import Histories
from llm_adapt.imitation import SPACE, ImitationLearner

__all__ = ["SPACE", "Config", "IclAdLearner"]


@dataclass(frozen=True, kw_only=True)
class Config(imitation.Config):
    """As for every imitation."""

    display_name: ClassVar[str] = "Algorithm distillation"


class IclAdLearner(ImitationLearner):
    """The source's own actions are the labels."""

    method = "icl_ad"
    supervision = "histories"

    def questions(self, histories: Histories) -> tuple[Tensor, Tensor]:
        """What did the source do in the state that it had come to?"""
        return histories.steps.obs, histories.steps.action
