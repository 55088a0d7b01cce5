"""Algorithm distillation (Laskin et al. 2022, arXiv 2210.14215): imitate how a learner learns.

A policy that is trained to predict a learner's next action from its whole history so far has to improve within its
context as the learner did, and continues to do so on new tasks.

Deviations from the paper:
 1. One token a step (``llm_adapt/tokens.py``; the paper: one each for observation, action and reward).
 2. The learners are the references in ``bridge/references``: posterior sampling, UCB, Q-learning. (The paper:
    actor-critics and DQN.)
 3. Histories are cut to the length of two windows, unless ``episodes`` is given: later learning is not imitated.
 4. A window that would start before its history starts with it, so that first steps are as frequent as the others.
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
    """Policy and training, as for every imitation."""

    display_name: ClassVar[str] = "Algorithm distillation"


class IclAdLearner(ImitationLearner):
    """Labels are the source's own actions."""

    method = "icl_ad"
    supervision = "histories"

    def questions(self, histories: Histories) -> tuple[Tensor, Tensor]:
        """The state of each step, and the source's action in it."""
        return histories.steps.obs, histories.steps.action
