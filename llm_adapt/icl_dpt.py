"""Decision-pretrained transformer (Lee et al. 2023, arXiv 2306.14892): name the best action, given a history.

Trained to say what the informed oracle would do in a state drawn at random, a policy that sees only the history says
how probable each action is to be the best one. To draw from that is posterior sampling, and it explores.

Deviations from the paper:
 1. A context is a history in its order, and a state is asked about at every step of it. (The original: a set of
 transitions, in any order, and one state.)
 2. Histories come from several learners and from random play, which know no more than the history shows.
 3. A token tells a transition and asks about a state at once (``llm_adapt/tokens.py``).
 4. At play the context grows with every step and slides beyond its window. (The original: whole episodes.)
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
    """As for every imitation."""

    display_name: ClassVar[str] = "DPT"


class IclDptLearner(ImitationLearner):
    """The oracle's actions are the labels."""

    method = "icl_dpt"
    supervision = "optimal_actions"

    def questions(self, histories: Histories) -> tuple[Tensor, Tensor]:
        """What is best in a state that may be any?"""
        return histories.asked, histories.best
