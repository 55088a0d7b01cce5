"""Why methods that adapt by their memory fail under negated rewards."""

from experiments.studies.claims.claim import Claim, above, all_of, below
from experiments.studies.claims.elsewhere import part

SPLIT = "shift/reward_sign/4"

CLAIM = Claim(
    statement="Under negated rewards RL² and icl_rl fail by the prior that they were trained on, not by bad inference.",
    test=all_of(
        above(part("rl2", "prior", SPLIT), 0.3),
        below(part("rl2", "inference", SPLIT), 0.15),
        below(part("icl_rl", "inference", SPLIT), 0.15),
    ),
    prediction="supported",
    known="With three seeds 0.62 ±0.06, 0.01 ±0.13 and -0.03 ±0.08.",
    because="They were trained to be the exact learner of a distribution in which rewards are not negated.",
)
