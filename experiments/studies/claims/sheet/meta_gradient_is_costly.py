"""The meta-gradient goes through the inner steps; the first-order variant treats them as constants.

A rate of 0.003 is the default, so that these runs are those of ``meta_gradient_is_unstable``, too.
"""

from experiments.studies.claims.claim import Claim, above
from experiments.studies.measures import Operations, Ratio
from experiments.studies.players import Player

CLAIM = Claim(
    statement="The meta-gradient is costly: MAML takes half as many operations again as its first-order variant.",
    test=above(
        Ratio(
            Operations(Player("maml", settings="lr=0.003", share=0.25)),
            Operations(Player("maml", settings="estimator=fomaml", share=0.25)),
        ),
        1.5,
    ),
    prediction="supported",
    known="A run of two seeds on a hundredth of the budget counted 1.87, minutes before this was committed.",
    because="Each of three inner steps is differentiated a second time, which costs about what the step does.",
)
