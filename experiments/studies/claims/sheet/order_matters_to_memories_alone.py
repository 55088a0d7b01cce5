"""The same history in reverse order."""

from experiments.studies.claims.claim import Claim, above, all_of, below
from experiments.studies.claims.elsewhere import order

CLAIM = Claim(
    statement="The order of a history changes the policies of RL² and icl_rl, and not those of PEARL and MAML.",
    test=all_of(
        above(order("rl2"), 0.1),
        above(order("icl_rl"), 0.1),
        below(order("pearl"), 0.01),
        below(order("maml"), 0.01),
    ),
    prediction="supported",
    known="With three seeds 0.41 ±0.09, 0.44 ±0.05 and 0.0000 twice.",
    because="A product of factors has no order, nor have steps that add up; a recurrence is not made to forget it.",
)
