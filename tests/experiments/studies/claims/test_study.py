"""The study of claims: it plays what its sheet needs, judges, and keeps to its predictions."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from bridge.errors import UserError
from bridge.report.claims import verdicts
from experiments.studies.claims import study
from experiments.studies.claims.claim import Claim, above, all_of, below
from experiments.studies.claims.sheet import SHEET
from experiments.studies.claims.study import SIZES, Study
from experiments.studies.measures import Gain, Less, Score
from experiments.studies.players import Player

RL2 = Player("rl2")
MADE = {
    "learns": Claim(
        statement="RL² scores more than 0.2.",
        test=above(Score(RL2), 0.2),
        prediction="supported",
        because="It was trained.",
    ),
    "stands_still": Claim(
        statement="RL² does not adapt, and loses nothing under negated rewards.",
        test=all_of(
            below(Gain(RL2), 0.1),
            below(Less(Score(RL2), Score(RL2, "shift/reward_sign/4")), 0.1),
        ),
        prediction="refuted",
        because="It adapts.",
    ),
}


def made(out, sheet=None, **changes) -> Study:
    size = replace(SIZES["smoke"], seeds=(0, 1, 2), share=1.0, **changes)
    return Study(sheet or MADE, size, out)


def test_it_plays_judges_and_writes_the_sheet(tmp_path, capsys):
    study.run(made(tmp_path))
    printed = capsys.readouterr().out
    assert "| RL² scores more than 0.2. | supported | supported |" in printed
    assert "2 verdicts on 2 claims, 2 as predicted; of 2 " in printed
    with (tmp_path / "claims.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["claim"] for row in rows] == ["learns", "stands_still", "stands_still"]
    assert all(float(row["low"]) < float(row["mean"]) < float(row["high"]) for row in rows)
    assert {row["n"] for row in rows} == {"3"}


def test_differences_on_the_same_tasks_are_paired(tmp_path):
    whole = made(tmp_path)
    whole.play()
    lead = Less(Score(RL2), Score(Player("mtrl")))
    both = Study({"lead": replace(MADE["learns"], test=above(lead, 0.0))}, whole.size, tmp_path)
    both.play()
    paired = lead.read(both)
    apart = Less(Score(RL2), Score(Player("mtrl")), share=1 + 1e-9).read(both)
    assert paired.mean == pytest.approx(apart.mean, abs=1e-6)
    results = both.of(RL2)
    assert paired == results.score_difference(
        next(key for key in results.about if (key.method, key.split) == ("rl2", "id")), "mtrl"
    )


def test_a_prediction_that_changes_after_its_rows_is_refused(tmp_path):
    made(tmp_path).play()
    turned = {"learns": replace(MADE["learns"], prediction="refuted")}
    with pytest.raises(UserError, match=r"claim learns: supported: .* there, refuted: .* here"):
        made(tmp_path, turned).play()
    other = {"learns": replace(MADE["learns"], test=above(Score(RL2), 0.1))}
    with pytest.raises(UserError, match=r"rl2 on bandit, id above 0\.2 there"):
        made(tmp_path, other).play()


def test_more_claims_can_be_added_to_a_folder(tmp_path):
    made(tmp_path, {"learns": MADE["learns"]}).play()
    made(tmp_path).play()


def test_a_claim_that_is_played_alone_is_corrected_for_the_whole_sheet(tmp_path):
    alone = replace(made(tmp_path), names=("learns",))
    study.run(alone)
    few = verdicts({"learns": alone.evidence["learns"]})["learns"].p
    assert verdicts(alone.evidence)["learns"].p == pytest.approx(2 * few)
    assert alone.evidence["stands_still"].effects[1].found is None


def test_a_difference_of_the_same_runs_is_paired_by_seed(tmp_path):
    whole = made(tmp_path)
    whole.play()
    fall = Less(Score(RL2), Score(RL2, "shift/reward_sign/4"), share=0.5)
    results = whole.of(RL2)
    assert results is not None
    keys = [k for k in results.about if k.method == "rl2"]
    scores = {key.split: results.seed_scores(key) or {} for key in keys}
    by_seed = [scores["id"][s] - 0.5 * scores["shift/reward_sign/4"][s] for s in (0, 1, 2)]
    expected = scipy.stats.t.interval(0.95, 2, np.mean(by_seed), scipy.stats.sem(by_seed))
    found = fall.read(whole)
    assert found.mean == pytest.approx(np.mean(by_seed))
    assert (found.low, found.high) == pytest.approx(expected)
    for key in keys:
        assert np.mean(list(scores[key.split].values())) == pytest.approx(results.score(key).mean)


def test_without_concerns_and_text_their_claims_have_no_rows(tmp_path):
    names = ("negative_transfer_is_real", "prompt_shift_is_like_task_shift")
    nothing = made(tmp_path, {name: SHEET[name] for name in names})
    nothing.play()
    assert {effect.found for each in nothing.evidence.values() for effect in each.effects} == {None}


@pytest.mark.slow
def test_mitigations_are_read_from_the_study_of_concerns(tmp_path):
    name = "negative_transfer_is_real"
    some = made(tmp_path, {name: SHEET[name]}, concerns="smoke")
    some.play()
    (effect,) = some.evidence[name].effects
    assert effect.found is not None
    assert effect.found.n == 2
