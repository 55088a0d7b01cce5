"""What methods with gradient steps know that the exact learner of training does not."""

from experiments.studies.claims.claim import Claim, all_of, below
from experiments.studies.claims.elsewhere import part

CLAIM = Claim(
    statement="Under negated rewards the weights after gradient steps hold what the exact learner of training misses.",
    test=all_of(
        *(
            below(part(method, "representation", "shift/reward_sign/4"), -0.2)
            for method in ("maml", "mtrl_finetune")
        )
    ),
    prediction="supported",
    known="With three seeds -0.50 ±0.00 for both.",
    because="A gradient follows rewards whatever their sign, and a linear probe can read its direction.",
)
