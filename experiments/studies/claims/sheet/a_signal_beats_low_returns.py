"""Signals of failure from the inside of methods that adapt by their memory, where returns mislead."""

from experiments.studies.claims.claim import Claim, above, any_of
from experiments.studies.claims.elsewhere import foreseen

CLAIM = Claim(
    statement="Under a shifted prior a signal from inside a method foretells its failures better than low returns do.",
    test=any_of(
        *(
            above(foreseen("prior", method, signal, "lead"), 0.02)
            for method in ("rl2", "icl_rl")
            for signal in ("novelty", "surprise", "entropy")
        )
    ),
    prediction="supported",
    known="With three seeds these signals did not, under negated rewards and with another fallback.",
    because="Under a shifted prior low returns say how much a task pays, not how wrong the method is.",
)
