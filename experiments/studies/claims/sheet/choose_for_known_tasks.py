"""Twenty known bandits; multi-task RL is given the id of the task that it plays."""

from experiments.studies.claims.claim import Choice, above, all_of
from experiments.studies.measures import Less, Score
from experiments.studies.players import Player


def _known(method: str) -> Score:
    return Score(Player(method, variant="tasks=20"), "train")


CLAIM = Choice(
    setting="the tasks at test are the known training tasks",
    recommended="multi-task RL",
    statement="On its known training tasks multi-task RL beats RL², MAML and PEARL, which have to find out the task.",
    test=all_of(
        *(above(Less(_known("mtrl"), _known(method)), 0.02) for method in ("rl2", "maml", "pearl"))
    ),
    prediction="supported",
    because="It is given the id of the task, so nothing has to be explored.",
)
