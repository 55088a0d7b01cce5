"""Handing over to LoRA or full gradient steps in trials that earn less than nineteen of twenty in training."""

from experiments.studies.claims.claim import Claim, above, all_of
from experiments.studies.claims.elsewhere import foreseen

CLAIM = Claim(
    statement="Under negated rewards a switch by low returns beats both never and always switching.",
    test=all_of(
        *(
            above(foreseen("reward_sign", method, "low return", "gain"), 0.02)
            for method in ("rl2", "icl_rl")
        )
    ),
    prediction="supported",
    known="With three seeds 0.06 ±0.05 and 0.10 ±0.03, if the fallback has explored all pulls itself.",
    because="Negated rewards pay less than nothing from the first pull on.",
)
