"""New bandits whose arms are so alike that ten pulls say little about which one is best."""

from experiments.studies.claims.claim import Choice, above, all_of
from experiments.studies.measures import Less, Score
from experiments.studies.players import Player

CLAIM = Choice(
    setting="new tasks whose identity stays uncertain",
    recommended="PEARL",
    statement="If the task's identity stays uncertain, PEARL beats RL², MAML and fine-tuned multi-task RL.",
    test=all_of(
        *(
            above(
                Less(
                    Score(Player("pearl"), "shift/gap/2"),
                    Score(Player(method), "shift/gap/2"),
                ),
                0.02,
            )
            for method in ("rl2", "maml", "mtrl_finetune")
        )
    ),
    prediction="refuted",
    because="RL² sees the same rewards and was trained to weigh them.",
)
