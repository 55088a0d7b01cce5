"""Known tasks need no adaptation, and a policy trained for them has none."""

from experiments.studies.claims.claim import Claim, above, all_of, below
from experiments.studies.measures import Gain
from experiments.studies.players import Player

CLAIM = Claim(
    statement="A multi-task policy does not adapt to a new task: its last episode earns what its first one does.",
    test=all_of(
        *(
            each
            for gain in (
                Gain(Player("mtrl")),
                Gain(Player("mtrl", on="gridnavi")),
                Gain(Player("mt", on="gridnavi")),
            )
            for each in (above(gain, -0.05), below(gain, 0.05))
        )
    ),
    prediction="supported",
    because="Without the id of a known task it has neither a memory across episodes nor gradient steps.",
)
