"""Signals of failure from the inside of methods that adapt by their memory."""

from experiments.studies.claims.claim import Claim, above, any_of
from experiments.studies.claims.elsewhere import foreseen

SIGNALS = ("novelty", "surprise", "entropy", "order", "unlikely")
OWN = {"pearl": ("misfit",)}
"""Signals of one method alone."""

CLAIM = Claim(
    statement="A signal from the inside of a method foretells its failures better than its low returns do.",
    test=any_of(
        *(
            above(foreseen(axis, method, signal, "lead"), 0.05)
            for axis in ("reward_sign", "prior")
            for method in ("rl2", "pearl", "icl_rl")
            for signal in (*SIGNALS, *OWN.get(method, ()))
        )
    ),
    prediction="supported",
    known="With three seeds novelty, surprise and entropy did not, under reward_sign and with another fallback.",
    because="Under a shifted prior low returns say how much a task pays, not how wrong the method is.",
)
