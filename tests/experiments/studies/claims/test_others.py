"""Other studies that claims are about: their numbers are those that they have written, of the size of the claims."""

import json

import pytest

from bridge.evaluation.stats import Interval
from experiments.studies import named
from experiments.studies.claims.claim import above
from experiments.studies.claims.elsewhere import part
from experiments.studies.claims.others import others

GAP = part("rl2", "prior", "id")


def written(folder, seeds=(0, 1, 2, 3, 4)):
    """The studies on histories in a folder that holds numbers of one of them, of these training seeds."""
    studies = others(folder, size_of_concerns="", size_of_histories="small")
    histories = studies["attribution"].study.histories
    histories.rows.mkdir(parents=True)
    (histories.rows / "study.json").write_text(json.dumps(histories.about | {"seeds": [*seeds]}))
    numbers = {("id", "rl2", "prior"): Interval(0.3, 0.2, 0.4, 5, "t")}
    text = named.comma_separated(("split", "method", "part"), numbers)
    studies["attribution"].study.csv.write_text(text)
    return studies


class Rows:
    def __init__(self, studies):
        self.studies = studies

    def of(self, player):
        return None

    def numbers(self, study):
        return self.studies[study].numbers()


def test_a_claim_reads_what_a_study_has_written(tmp_path):
    effect = above(GAP, 0.1).evidence(Rows(written(tmp_path)))
    assert effect.found.mean == pytest.approx(0.3)
    assert effect.supported < 0.01
    assert above(GAP, 0.1).studies == {"attribution"}


def test_numbers_of_another_size_are_none_of_the_claims(tmp_path):
    assert written(tmp_path, seeds=(0, 1, 2))["attribution"].numbers() == {}


def test_a_study_that_was_not_played_has_no_numbers(tmp_path):
    assert (
        others(tmp_path, size_of_concerns="quick", size_of_histories="")["concerns"].numbers() == {}
    )
    assert written(tmp_path)["mirror"].numbers() == {}
