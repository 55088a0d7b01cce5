"""A finite list of tasks played for fewer trials than it has tasks: everything is reported, down to a single trial."""

import json

import pytest
import scipy.stats

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.references.random import Random
from bridge.tasks import family as make_family
from tests.experiments.commands import run

NAMED = ("trial_return", "episode_return", "regret", "score_oracle", "score_bayes", "minus_bayes")


def lines(capsys, *flags: str) -> dict[str, dict]:
    out, _ = run("evaluate", *flags, "--json", capsys=capsys)
    return {line["metric"]: line for line in map(json.loads, out.splitlines())}


def test_a_trial_a_task_has_the_interval_over_trials(capsys):
    """The t interval of twenty returns, recomputed from the evaluator's sums."""
    family = make_family("gridnavi")
    found = lines(capsys, "random", "--family", "gridnavi", "--trials", "20")
    n, total, square = evaluate(Random(family), family, Plan(trials=20)).pooled("trial_return")
    mean, spread = total / n, ((square - total**2 / n) / (n - 1)) ** 0.5
    low, high = scipy.stats.t.interval(0.95, n - 1, mean, spread / n**0.5)
    line = found["trial_return"]
    assert (line["low"], line["mean"], line["high"]) == pytest.approx((low, mean, high))
    assert (line["interval"], line["n"]) == ("trials", 20)
    assert {"success", *NAMED} <= found.keys()
    assert found["minus_bayes"]["low"] < found["minus_bayes"]["mean"] < found["minus_bayes"]["high"]


@pytest.mark.parametrize(
    "spec", ["gridnavi", "gridnavi:tasks=1", "sparse_point", "bandit:k=2,n=5,arms=dependent_easy"]
)
def test_one_trial_is_reported_and_its_interval_says_that_it_has_none(spec, capsys):
    split = "train" if "tasks" in spec else "id"
    found = lines(capsys, "random", "--family", spec, "--splits", split, "--trials", "1")
    assert {
        "trial_return",
        "episode_return",
        "regret",
    } <= found.keys()  # a score needs an oracle above random play
    for metric in NAMED:
        if metric in found:
            assert (found[metric]["low"], found[metric]["high"], found[metric]["n"]) == (
                None,
                None,
                1,
            )
            assert found[metric]["interval"].startswith("none")


@pytest.mark.parametrize("trials", [1, 20])
@pytest.mark.parametrize("track", ["C", "F"])
def test_frozen_tracks_with_few_trials(track, trials, capsys):
    flags = ["--family", "gridnavi", "--track", track, "--trials", str(trials), "--shots", "1"]
    flags += ["--behaviour", "oracle"] if track == "C" else []
    found = lines(capsys, "random", *flags)
    assert {"episode_return", "regret", "success"} <= found.keys()
    if track == "C":  # the oracle shows a success in every trial, so that all count
        assert found["informed_return"]["mean"] == pytest.approx(found["episode_return"]["mean"])


@pytest.mark.usefixtures("rendered")
@pytest.mark.parametrize("trials", [1, 20])
def test_compare_reports_few_trials_on_every_kind_of_split(trials, tmp_path, capsys):
    flags = [
        "--families",
        "gridnavi",
        "--methods",
        "random,oracle,bayes,bayes_train",
        "--trials",
        str(trials),
    ]
    splits = "id,shift/reward_sign/4"
    out, _ = run(
        "compare",
        *flags,
        "--tables",
        "--splits",
        splits,
        "--out",
        str(tmp_path / "few"),
        capsys=capsys,
    )
    assert "(n=1)" in out if trials == 1 else "±" in out
    table = (tmp_path / "few" / "tables" / "results.csv").read_text()
    assert all(f"gridnavi,{split},bayes,O,trial_return" in table for split in splits.split(","))
    numbers = [line.split(",")[5:8] for line in table.splitlines()[1:] if '"' not in line]
    assert numbers
    assert all(isinstance(float(number), float) for line in numbers for number in line)
    run("report", str(tmp_path / "few"), capsys=capsys)
