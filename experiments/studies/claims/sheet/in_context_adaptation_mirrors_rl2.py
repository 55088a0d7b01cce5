"""What in-context adaptation and LoRA on the same runs do after histories that all methods observe."""

from experiments.studies.claims.claim import Claim, above, all_of
from experiments.studies.claims.elsewhere import nearer

CLAIM = Claim(
    statement="In-context adaptation acts more like RL² than fine-tuning does, in distribution and under shift.",
    test=all_of(
        *(
            above(nearer("rl2", split), 0.05)
            for split in ("id", "shift/prior/4", "shift/reward_sign/4")
        )
    ),
    prediction="supported",
    known="With three seeds 0.13 ±0.06, 0.11 ±0.03 and 0.12 ±0.09.",
    because="Both are trained by the same objective to read a history, and only their networks differ.",
)
