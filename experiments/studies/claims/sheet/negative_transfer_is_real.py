"""Half of the tasks have the opposite best actions of the others."""

from experiments.studies.claims.claim import Claim, above
from experiments.studies.claims.elsewhere import relief

CLAIM = Claim(
    statement="Negative transfer is real: a network of its own for each task beats one for opposite tasks.",
    test=above(relief("opposed", "specialists"), 0.05),
    prediction="supported",
    known="The same study with five seeds found 0.147 ±0.036.",
    because="Gradients of opposite tasks conflict in shared layers, and the budget is short.",
)
