"""Decision-pretrained transformer (Lee et al. 2023, arXiv 2306.14892): name the best action, given a history.

A policy that reads only a history and is trained to predict the informed oracle's action in a random state outputs the
probability of each action that it is the best one. To sample from this is posterior sampling, which explores.

Deviations from the paper:
 1. A context is a history in its order, with a query state at every step. (The paper: a set of transitions in any
    order, and one query state.)
 2. Histories come from several learners and from random play, which know no more than the history contains.
 3. A token holds both a transition and a query state (``llm_adapt/tokens.py``).
 4. At play the context grows with every step and slides beyond its window. (The paper: whole episodes.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from llm_adapt import imitation
from llm_adapt.histories import Histories
from llm_adapt.imitation import SPACE, ImitationLearner

__all__ = ["SPACE", "Config", "IclDptLearner"]


@dataclass(frozen=True, kw_only=True)
class Config(imitation.Config):
    """Policy and training, as for every imitation."""

    display_name: ClassVar[str] = "DPT"


class IclDptLearner(ImitationLearner):
    """Labels are the oracle's actions."""

    method = "icl_dpt"
    supervision = "optimal_actions"

    def questions(self, histories: Histories) -> tuple[Tensor, Tensor]:
        """The query state of each step, and the oracle's action in it."""
        return histories.asked, histories.best
