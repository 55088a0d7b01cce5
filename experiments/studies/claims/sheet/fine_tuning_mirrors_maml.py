"""The other half of the analogy, with LoRA on in-context runs."""

from experiments.studies.claims.claim import Claim, above, all_of
from experiments.studies.claims.elsewhere import nearer

CLAIM = Claim(
    statement="Fine-tuning acts more like MAML than in-context adaptation does, in distribution and under shift.",
    test=all_of(
        *(
            above(nearer("maml", split), 0.05)
            for split in ("id", "shift/prior/4", "shift/reward_sign/4")
        )
    ),
    prediction="refuted",
    known="With three seeds 0.02 ±0.10, 0.01 ±0.05 and 0.33 ±0.08.",
    because="In distribution the steps of LoRA change little of what the context has done already.",
)
