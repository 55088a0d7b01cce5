"""What a method's own exploration is worth to it, beside a context that random play has made."""

from experiments.studies.claims.claim import Claim, above, all_of, below
from experiments.studies.claims.elsewhere import part

CLAIM = Claim(
    statement="RL² and icl_rl explore better than random play does for them; MAML does not.",
    test=all_of(
        below(part("rl2", "exploration", "id"), -0.05),
        below(part("icl_rl", "exploration", "id"), -0.05),
        above(part("maml", "exploration", "id"), -0.05),
    ),
    prediction="supported",
    known="With three seeds -0.26 ±0.05, -0.17 ±0.07 and 0.05 ±0.06.",
    because="Only what is trained over a whole trial is paid for pulls that pay later.",
)
