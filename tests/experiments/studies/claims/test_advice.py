"""Advice for a setting, with its evidence."""

import pytest

from bridge.evaluation.stats import Interval
from bridge.report.claims import AllOf, Effect, verdicts
from experiments.studies.claims import advice, tables
from experiments.studies.claims.sheet import SHEET
from tests.experiments.commands import run

ROW = {
    "claim": "choose_with_gradient_steps",
    "predicted": "refuted",
    "verdict": "refuted",
    "p": "0.004",
    "effect": "maml on id less rl2 on id",
    "side": "above",
    "bound": "0.05",
    "n": "5",
    "mean": "-0.25",
    "low": "-0.28",
    "high": "-0.22",
}


@pytest.mark.parametrize(
    ("flag", "recommended"),
    [
        ("--known-tasks", "multi-task RL"),
        ("--gradient-at-test", "MAML"),
        ("--uncertain-identity", "PEARL"),
        ("--shifted", "none as it is; extend the training distribution"),
        ("", "RL²"),
    ],
)
def test_every_setting_has_its_advice(flag, recommended, capsys):
    out, _ = run("advise", *filter(None, [flag]), capsys=capsys)
    assert f"Usual advice: {recommended}" in out


def test_settings_that_hold_together_are_both_printed(capsys):
    out, _ = run("advise", "--shifted", "--known-tasks", capsys=capsys)
    assert out.count("Usual advice:") == 2


def test_advice_comes_with_what_was_measured():
    name = ROW["claim"]
    said = advice.text(name, {name: [ROW]})
    assert "Our evidence, on bandit:k=5,n=10: refuted (p 0.004, corrected for the sheet)." in said
    assert "| maml on id less rl2 on id | > 0.05 | -0.250 ±0.030 | 5 |" in said


def test_what_was_not_measured_says_how_to_measure_it():
    said = advice.text("choose_under_shift", {})
    assert "metabridge claims --size small --names choose_under_shift" in said


def test_what_the_study_writes_is_what_the_advice_reads(tmp_path):
    claim = SHEET[ROW["claim"]]
    found = Interval(-0.25, -0.28, -0.22, 5, "t over seeds")
    evidence = {ROW["claim"]: AllOf((Effect("a", found, 0.05), Effect("b", None, 0.05)))}
    path = tmp_path / "claims.csv"
    rows = tables.comma_separated({ROW["claim"]: claim}, evidence, verdicts(evidence))
    path.write_text(rows, encoding="utf-8")
    assert "| a | > 0.05 | -0.250 ±0.030 | 5 |" in advice.text(ROW["claim"], advice.evidence(path))


def test_evidence_that_ships_is_of_the_sheet_as_it_is():
    """Bounds and predictions did not move after the rows."""
    for name, rows in advice.evidence().items():
        claim = SHEET[name]
        promised = claim.promise.partition(": ")
        assert {row["predicted"] for row in rows} == {promised[0]}
        for row in rows:
            assert f"{row['effect']} {row['side']} {row['bound']}" in promised[2].split("; ")


def test_evidence_is_read_by_claim(tmp_path):
    path = tmp_path / "evidence.csv"
    path.write_text(",".join(ROW) + "\n" + ",".join(ROW.values()) + "\n")
    assert advice.evidence(path) == {ROW["claim"]: [ROW]}
