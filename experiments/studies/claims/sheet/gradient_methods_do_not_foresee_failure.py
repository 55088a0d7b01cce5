"""Signals of failure of MAML, its gradient steps among them."""

from experiments.studies.claims.claim import Claim, above, all_of, below
from experiments.studies.claims.elsewhere import foreseen

AUROC = [
    foreseen("reward_sign", "maml", signal, "auroc")
    for signal in ("low return", "novelty", "surprise", "entropy", "step size", "misalignment")
]

CLAIM = Claim(
    statement="None of six signals foretells MAML's failures: returns, its policy, nor the size or direction of steps.",
    test=all_of(
        *(below(auroc, 0.65) for auroc in AUROC),
        *(above(auroc, 0.35) for auroc in AUROC),
    ),
    prediction="supported",
    known="With three seeds 0.48 to 0.52, with another fallback.",
    because="Its steps follow rewards of any sign, so that negated rewards are no failure of its own kind.",
)
