"""PEARL samples a task from its posterior; RL² has to represent what is uncertain in its hidden state."""

from experiments.studies.claims.claim import Claim, above, all_of
from experiments.studies.measures import Less, Score
from experiments.studies.players import Player

CLAIM = Claim(
    statement="PEARL beats RL² as long as the task's identity stays uncertain.",
    test=all_of(
        *(
            above(Less(Score(Player("pearl"), split), Score(Player("rl2"), split)), 0.02)
            for split in ("id", "shift/gap/2")
        )
    ),
    prediction="refuted",
    because="Ten pulls leave the best of five arms uncertain, and sampling a posterior explores more than is optimal.",
)
