"""Random play from a different action distribution in each trial, from uniform to a single action.

    pi = (1 - c) Dirichlet(1, .., 1) + c one-hot,    c in {0, .1, .., 1}

The behaviour of Lee et al. 2023 (arXiv 2306.14892) on bandits. It does not learn, so that only the rewards tell good
actions from bad ones, and it covers play that a uniform policy does not reach. If episodes have several steps, each
episode has its own pi.

Shape letters: B trials, A actions.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from bridge.errors import UserError
from bridge.protocol import Clues, Decision, Trial
from bridge.references.base import Reference, reference_card
from bridge.rng import Rows
from bridge.tasks.base import Discrete, TaskFamily

Weights = Float[Tensor, "B A"]
"""The probability of each action."""


class Skewed(Reference):
    """Random play from a different action distribution in each trial.

    Its memory is pi, ``[B, A]``.
    """

    card = reference_card("skewed", "heuristic", supervision="none")

    def __init__(self, family: TaskFamily, split: str) -> None:
        if not isinstance(family.action, Discrete):
            raise UserError(
                f"skewed needs finitely many actions; those of {family.id} are {family.action}."
            )
        self.actions, self.horizon = family.action.n, family.trial(split).horizon

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Weights:
        """Draw pi."""
        return self._draw(rng)

    def begin(self, memory: Weights, rng: Rows, *, episode: int) -> Weights:
        """Draw a new pi, unless an episode is one step."""
        return memory if self.horizon == 1 else self._draw(rng)

    def act(self, memory: Weights, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        return Decision(rng.categorical(memory))

    def _draw(self, rng: Rows) -> Weights:
        share = -rng.at("share").uniform(self.actions).log()
        favourite = one_hot(rng.at("favourite").integers(self.actions), self.actions)
        c = rng.at("c").integers(11)[:, None] / 10
        return (1 - c) * share / share.sum(-1, keepdim=True) + c * favourite
