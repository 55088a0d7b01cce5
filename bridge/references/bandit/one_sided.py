"""Random play of all degrees of one-sidedness: each trial has a distribution of actions of its own.

    pi = (1 - c) Dirichlet(1, .., 1) + c one-hot,    c in {0, .1, .., 1}

The behaviour of Lee et al. 2023 (arXiv 2306.14892) on bandits. It knows nothing: rewards alone tell what is good
in what it does; and it goes where uniform play does not come. Where episodes have several steps it is drawn anew for
each of them.

Shape letters: B trials, A actions.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from bridge.errors import UserError
from bridge.protocol import Card, Clues, Decision, Trial
from bridge.references.base import Reference
from bridge.rng import Rows
from bridge.tasks.base import Discrete, TaskFamily


class Skewed(Reference):
    """Its memory is pi, ``[B, A]``."""

    def __init__(self, family: TaskFamily, split: str) -> None:
        if not isinstance(family.action, Discrete):
            raise UserError(
                f"skewed draws among finitely many actions; those of {family.id} are {family.action}."
            )
        self.actions, self.horizon = family.action.n, family.trial(split).horizon
        self.card = Card(
            method="skewed",
            reference=True,
            supervision="none",
            decode_rule="rule",
            exact_reference="heuristic",
        )

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Float[Tensor, "B A"]:
        """Draw pi."""
        share = -rng.at("share").uniform(self.actions).log()
        favourite = one_hot(rng.at("favourite").integers(self.actions), self.actions)
        c = rng.at("c").integers(11)[:, None] / 10
        return (1 - c) * share / share.sum(-1, keepdim=True) + c * favourite

    def begin(
        self, memory: Float[Tensor, "B A"], rng: Rows, *, episode: int
    ) -> Float[Tensor, "B A"]:
        """Another pi, unless an episode is one step."""
        return memory if self.horizon == 1 else self.start(Clues(), Trial(1, self.horizon), rng)

    def act(
        self, memory: Float[Tensor, "B A"], obs: Tensor, rng: Rows, *, explore: bool
    ) -> Decision:
        """Drawn from pi."""
        return Decision(rng.categorical(memory))
