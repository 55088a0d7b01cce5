"""The same transformer with and without gradient steps of a LoRA adapter in the trial."""

from experiments.studies.claims.claim import Claim, above, all_of
from experiments.studies.measures import Less, Score
from experiments.studies.players import Player

ICL, TUNED = Player("icl_rl"), Player("icl_rl", tuned="lora_reward")

CLAIM = Claim(
    statement="In-context adaptation is no substitute for fine-tuning on shifted tasks.",
    test=all_of(
        *(
            above(Less(Score(TUNED, split), Score(ICL, split)), 0.05)
            for split in ("shift/reward_sign/4", "shift/reward_scale/1")
        )
    ),
    prediction="supported",
    known="With three seeds, 0.30 against 0.03 under negated rewards.",
    because="A context is read by weights that were trained for other tasks; gradient steps change them.",
)
