"""Widened training has rewards in units of 1, 0.1 and 0.3; units of 10 stay outside, on the other side of 1."""

from experiments.studies.claims.claim import Claim, above, all_of, below
from experiments.studies.measures import Less, Score
from experiments.studies.players import Player

INSIDE, OUTSIDE = "shift/reward_scale/1", "shift/reward_scale/4"


def _moved(method: str):
    """Plain training fails inside, wider training works there, and still fails outside."""
    plain, wide = Player(method), Player(method, variant="wide=reward_scale")
    return (
        below(Less(Score(plain, INSIDE), Score(plain), share=0.5), 0.0),
        above(Less(Score(wide, INSIDE), Score(wide), share=0.5), 0.0),
        below(Less(Score(wide, OUTSIDE), Score(wide), share=0.5), 0.0),
    )


CLAIM = Claim(
    statement="Wider training mends the failure where it reaches, and not beyond: it is moved, not removed.",
    test=all_of(*_moved("rl2"), *_moved("icl_rl")),
    prediction="supported",
    known="Plain training, three seeds: 0.02 in units of 0.1; in units of 10, 0.27 for RL² and 0.20 for icl_rl.",
    because="Networks interpolate between the units that they have met, and do not extrapolate.",
)
