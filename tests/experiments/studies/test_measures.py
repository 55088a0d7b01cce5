"""Numbers that are read of rows: counted operations, and what is missing."""

import pytest

from bridge.report.summary import Results
from experiments.studies.measures import Gain, Less, Operations, Ratio, Score
from experiments.studies.players import Player
from tests.bridge.report.made_up import bounds, played

CHEAP, DEAR = Player("rl2", on="gridnavi"), Player("maml", on="gridnavi")
FAMILY = "gridnavi"


class Rows:
    def __init__(self, *rows):
        self.results = Results([*bounds(FAMILY, "id"), *rows])

    def of(self, player):
        return self.results


def test_operations_are_those_of_an_environment_step():
    rows = Rows(
        played("rl2", FAMILY, "id", 0.5, train_env_steps=1_000, train_flops=4e6),
        played("maml", FAMILY, "id", 0.5, train_env_steps=500, train_flops=6e6),
    )
    found = Operations(CHEAP).read(rows)
    assert (found.mean, found.low, found.high) == (4_000, 4_000, 4_000)
    assert Ratio(Operations(DEAR), Operations(CHEAP)).read(rows).mean == 3
    assert Score(CHEAP).read(rows).mean == pytest.approx(0.5)


def test_runs_whose_operations_were_not_counted_have_none():
    rows = Rows(played("rl2", FAMILY, "id", 0.5, train_flops=None))
    assert Operations(CHEAP).read(rows) is None


def test_a_number_that_lacks_rows_is_none_alone_and_in_a_difference():
    rows = Rows(played("rl2", FAMILY, "id", 0.5))
    for measure in (Score(DEAR), Gain(DEAR), Operations(DEAR), Less(Score(CHEAP), Score(DEAR))):
        assert measure.read(rows) is None


def test_needs_are_those_of_all_parts():
    difference = Less(Score(CHEAP, "shift/slip/1"), Score(DEAR))
    assert difference.needs == ((CHEAP, "shift/slip/1"), (DEAR, "id"))
