"""Bandits with negated rewards: RL² that was trained on some of them, against all that were not.

The shift has to be known in advance, as training is extended to it.
"""

from experiments.studies.claims.claim import Choice, above, all_of
from experiments.studies.measures import Less, Score
from experiments.studies.players import Player

NEGATED = "shift/reward_sign/4"
OTHERS = (
    Player("rl2"),
    Player("pearl"),
    Player("maml"),
    Player("mtrl_finetune"),
    Player("icl_rl"),
    Player("icl_rl", tuned="icl_then_lora"),
)

CLAIM = Choice(
    setting="tasks from another distribution than training's, to which training can be extended",
    recommended="none as it is; extend the training distribution (here that of RL²)",
    statement="RL² with training extended to a shift beats every method without, under that shift.",
    test=all_of(
        *(
            above(
                Less(
                    Score(Player("rl2", variant="wide=reward_sign"), NEGATED),
                    Score(other, NEGATED),
                ),
                0.02,
            )
            for other in OTHERS
        )
    ),
    prediction="supported",
    known="Without extension, three seeds each: 0.30 for the switch, 0.24 for MAML, at most 0.13 for others.",
    because="The shift is then part of what it was trained for.",
)
