"""New bandits, without gradient steps in the trial."""

from experiments.studies.claims.claim import Choice, above, all_of
from experiments.studies.measures import Less, Score
from experiments.studies.players import Player

CLAIM = Choice(
    setting="new tasks, and no gradient steps at test",
    recommended="RL²",
    statement="On new tasks without gradient steps RL² beats PEARL and multi-task RL.",
    test=all_of(
        *(
            above(Less(Score(Player("rl2")), Score(Player(method))), 0.02)
            for method in ("pearl", "mtrl")
        )
    ),
    prediction="supported",
    known="Three seeds each: RL² has 0.47, PEARL 0.42.",
    because="It is trained on the return of the whole trial, exploration included.",
)
