"""MAML keeps nothing between episodes but what its gradient steps change."""

from experiments.studies.claims.claim import Claim, above
from experiments.studies.measures import Gain
from experiments.studies.players import Player

CLAIM = Claim(
    statement="MAML needs its gradient steps: the episodes after them earn more than those before.",
    test=above(Gain(Player("maml")), 0.1),
    prediction="supported",
    because="Its policy reads one observation; whatever it learns of a task is in its weights.",
)
