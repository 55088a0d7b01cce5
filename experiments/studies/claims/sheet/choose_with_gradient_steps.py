"""New bandits, with gradient steps allowed in the trial."""

from experiments.studies.claims.claim import Choice, above, all_of
from experiments.studies.measures import Less, Score
from experiments.studies.players import Player

OTHERS = ("rl2", "pearl", "mtrl_finetune")

CLAIM = Choice(
    setting="new tasks, and gradient steps at test",
    recommended="MAML",
    statement="On new tasks with a budget of gradient steps MAML beats RL², PEARL and fine-tuned multi-task RL.",
    test=all_of(
        *(above(Less(Score(Player("maml")), Score(Player(other))), 0.02) for other in OTHERS)
    ),
    prediction="refuted",
    known="Three seeds each: MAML has 0.22, RL² 0.47.",
    because="Ten pulls are few for a policy gradient, and enough for a hidden state.",
)
