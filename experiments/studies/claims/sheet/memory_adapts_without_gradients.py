"""Hidden states and contexts are updated by what is met, not by gradients."""

from experiments.studies.claims.claim import Claim, above, all_of
from experiments.studies.measures import Gain
from experiments.studies.players import Player

CLAIM = Claim(
    statement="RL² and in-context policies adapt to a new task without any gradient step.",
    test=all_of(
        *(
            above(Gain(Player(method, on=family)), 0.1)
            for family in ("bandit", "gridnavi")
            for method in ("rl2", "icl_rl")
        )
    ),
    prediction="supported",
    known="Both have the returns of Bayes-optimal play on bandits, with three seeds.",
    because="Both are trained on the return of whole trials, of which the first episodes are best spent on learning.",
)
