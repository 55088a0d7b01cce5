"""Signals of failure of MAML, its gradient steps among them."""

from experiments.studies.claims.claim import Claim, all_of, below
from experiments.studies.claims.elsewhere import foreseen

SIGNALS = ("low return", "novelty", "surprise", "entropy", "step size", "misalignment")

CLAIM = Claim(
    statement="No signal foretells the failures of MAML: neither returns, nor the size or direction of its steps.",
    test=all_of(*(below(foreseen("reward_sign", "maml", s, "auroc"), 0.65) for s in SIGNALS)),
    prediction="supported",
    known="With three seeds 0.48 to 0.52, with another fallback.",
    because="Its steps follow rewards of any sign, so that negated rewards are no failure of its own kind.",
)
