"""A language model that was meta-trained on bandits in one wording of the prompt."""

from experiments.studies.claims.claim import Claim, all_of, below
from experiments.studies.measures import Less, Score
from experiments.studies.players import Player
from experiments.studies.prompts.cells import FORMAT, SIZES

OTHERS = tuple(format for format in SIZES["quick"].formats if format != FORMAT)
"""The twelve other formats of ``metabridge prompts --size quick``."""
TRAINED = Player("prompted_smollm2_lora_ad")


def _worded(format: str) -> Player:
    return Player("prompted_smollm2_lora_ad", tuned=f"prompted_smollm2:format={format}")


CLAIM = Claim(
    statement="Any other wording of the prompt fails a language model as shifted tasks do: half its score is lost.",
    test=all_of(
        below(Less(Score(TRAINED, "shift/reward_sign/4"), Score(TRAINED), share=0.5), 0.0),
        *(below(Less(Score(_worded(format)), Score(TRAINED), share=0.5), 0.0) for format in OTHERS),
    ),
    prediction="refuted",
    known="With three seeds, three formats kept most of what was learned, and others little of it.",
    because="Formats that are like that of training (log, reversed, invented) keep what was learned in it.",
)
