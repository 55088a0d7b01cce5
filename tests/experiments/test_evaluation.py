"""``metabridge evaluate``: what it prints, its tracks, what is shown, how runs are decoded."""

import json

import pytest

from bridge.evaluation import results
from tests.experiments.commands import run


def test_evaluate_prints_json_lines(capsys):
    flags = [
        "--family",
        "bandit:k=5,n=10",
        "--splits",
        "id,shift/gap/3",
        "--trials",
        "400",
        "--json",
    ]
    out, _ = run("evaluate", "ucb1:c=0.1", *flags, capsys=capsys)
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["split"] for line in lines} == {"id", "shift/gap/3"}
    assert {line["metric"] for line in lines} >= {
        "trial_return",
        "episode_return",
        "regret",
        "success",
        "score_oracle",
        "score_bayes",
    }
    for line in lines:
        assert {"method", "family", "split", "metric", "mean", "low", "high", "n"} <= set(line)
        assert line["low"] <= line["mean"] <= line["high"]
        assert line["method"] == "ucb1:c=0.1"


@pytest.mark.parametrize("track", ["C", "F"])
def test_frozen_tracks(track, capsys):
    out, _ = run(
        "evaluate",
        "thompson",
        "--family",
        "gridnavi",
        "--track",
        track,
        "--trials",
        "210",
        "--json",
        capsys=capsys,
    )
    lines = {line["metric"]: line for line in map(json.loads, out.splitlines())}
    assert lines["episode_return"]["track"] == track
    assert "trial_return" not in lines


def test_the_better_a_context_the_better_who_reads_it(capsys):
    """Posterior sampling on grids, shown one episode of the oracle's play, of play half random, and of random play."""
    splits = "shift/context_quality"
    flags = [
        "--family",
        "gridnavi",
        "--track",
        "C",
        "--shots",
        "1",
        "--trials",
        "420",
        "--json",
        "--splits",
        splits,
    ]
    out, _ = run("evaluate", "psrl", *flags, capsys=capsys)
    lines = [json.loads(line) for line in out.splitlines()]
    plain, informed = (
        [line["mean"] for line in lines if line["metric"] == metric]
        for metric in ("episode_return", "informed_return")
    )
    assert len(plain) == 5
    assert plain == sorted(plain, reverse=True)
    assert plain[0] - plain[4] > 5
    assert informed[4] > plain[4] + 2
    compare = ["compare", "--methods", "psrl", "--tracks", "O", "--out", "nowhere"]
    for command in (["evaluate", "psrl"], compare):
        for named in (splits, f"{splits}/0"):
            name = "--family" if command[0] == "evaluate" else "--families"
            _, said = run(*command, name, "gridnavi", "--splits", named, code=2, capsys=capsys)
            assert "moves what is shown on track C" in said


def test_a_run_is_decoded_as_asked(tmp_path, capsys):
    out, base = str(tmp_path / "run"), ["--family", "bandit:k=2,n=8"]
    run(
        "train",
        "rl2:hidden=8,steps_per_update=300,minibatches=2",
        *base,
        "--budget",
        "600",
        "--out",
        out,
        capsys=capsys,
    )
    regret = {}
    for rule in ("sample", "1", "0.05", "argmax"):
        played, _ = run(
            "evaluate", out, *base, "--trials", "2000", "--json", "--decode", rule, capsys=capsys
        )
        regret[rule] = next(
            line["mean"]
            for line in map(json.loads, played.splitlines())
            if line["metric"] == "regret"
        )
    assert regret["sample"] == regret["1"]
    assert len({regret["sample"], regret["0.05"], regret["argmax"]}) == 3
    for method, rule, message in (
        (out, "beam", "found 'beam'"),
        ("ucb1", "argmax", "a rule of its own"),
    ):
        assert message in run("evaluate", method, *base, "--decode", rule, code=2, capsys=capsys)[1]
    frozen = ["--track", "C", "--decode", "argmax"]
    assert "Leave --decode out" in run("evaluate", out, *base, *frozen, code=2, capsys=capsys)[1]


def test_a_run_is_made_once_and_says_the_same_on_each_split(tmp_path, capsys):
    """A damaged checkpoint is told of once, however many splits are played."""
    out, base = tmp_path / "run", ["--family", "bandit:k=2,n=8"]
    method = "rl2:hidden=8,steps_per_update=300,minibatches=2"
    flags = ["--budget", "600", "--checkpoint-every", "0", "--out", str(out)]
    run("train", method, *base, *flags, capsys=capsys)
    last = max((out / "checkpoints").iterdir())
    last.write_bytes(last.read_bytes()[:20])
    play = ["evaluate", str(out), *base, "--trials", "20", "--json", "--splits"]
    splits = ("shift/gap/3", "id")
    played, said = run(*play, ",".join(splits), capsys=capsys)
    assert said.count("is damaged") == 1
    alone = "".join(run(*play, split, capsys=capsys)[0] for split in splits)
    assert sorted(played.splitlines()) == sorted(alone.splitlines())


def test_evaluate_as_a_table(capsys):
    out, _ = run("evaluate", "random", "--trials", "100", capsys=capsys)
    assert "trial_return" in out
    assert "random on bandit:k=5,n=10" in out


def test_a_table_for_each_split_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    split = "shift/action_permutation/4"
    flags = ["--family", "gridnavi", "--trials", "42", "--splits", f"id,{split}"]
    out, _ = run("evaluate", "search", *flags, capsys=capsys)
    lines = out.splitlines()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert [line.split()[0] for line in lines if "mean ± 95%" in line] == ["id", split]
    metrics = [line.split()[0] for line in lines if "trials" in line and "tasks are" not in line]
    assert metrics.count("trial_return") == 2
    assert "over" not in metrics  # the rest of a kind of interval that did not fit


def test_n_counts_what_the_interval_is_over(capsys):
    """500 trials of tasks of their own are kept in 64 blocks."""
    out, _ = run("evaluate", "ucb1", "--trials", "500", "--json", capsys=capsys)
    lines = {line["metric"]: line for line in map(json.loads, out.splitlines())}
    assert (lines["trial_return"]["n"], lines["trial_return"]["interval"]) == (500, "trials")
    score = lines["score_oracle"]
    assert (score["n"], score["interval"]) == (64, "bootstrap over blocks of tasks")


def test_the_references_stand_below_the_method_and_not_in_json(capsys):
    """Each has the return that it has by itself."""
    flags = ["--trials", "100", "--splits", "id,shift/gap/4"]
    table, _ = run("evaluate", "ucb1", *flags, capsys=capsys)
    returns = {
        name: [line.partition(name)[2].split() for line in run_table if f"{name} " in line]
        for name, run_table in (
            ("of oracle", table.splitlines()),
            ("trial_return", run("evaluate", "oracle", *flags, capsys=capsys)[0].splitlines()),
        )
    }
    assert len(returns["of oracle"]) == 2
    assert returns["of oracle"] == returns["trial_return"]
    assert "of ucb1" not in table
    out, _ = run("evaluate", "ucb1", *flags, "--json", capsys=capsys)
    assert {json.loads(line)["method"] for line in out.splitlines()} == {"ucb1"}


KEPT = ["--family", "bandit:k=2,n=4", "--trials", "40"]


def test_rows_are_kept_beside_those_of_a_comparison(trained, tmp_path, capsys):
    """Only what is missing is played, by either command; what is printed is what is printed without a folder."""
    out, files = (
        str(tmp_path / "out"),
        lambda: {p: p.stat() for p in results.files(tmp_path / "out")},
    )
    said, _ = run("evaluate", "ucb1", *KEPT, "--out", out, "--json", capsys=capsys)
    assert said == run("evaluate", "ucb1", *KEPT, "--json", capsys=capsys)[0]
    first = files()
    assert len(first) == 4  # ucb1, random, oracle, bayes
    run("evaluate", "ucb1", *KEPT, "--out", out, capsys=capsys)
    assert files() == first
    compare = ["compare", "--families", *KEPT[1:], "--splits", "id", "--tracks", "O", "--out", out]
    table, _ = run(*compare, "--methods", "ucb1,oracle,thompson", capsys=capsys)
    assert {"ucb1", "bayes", "thompson"} <= set(table.split())
    run("evaluate", "thompson", *KEPT, "--splits", "id,shift/gap/1", "--out", out, capsys=capsys)
    second = files()
    assert first.items() < second.items()
    assert len(second) == 9


def test_a_run_keeps_its_seed_and_each_rule_a_name_of_its_own(trained, tmp_path, capsys):
    line = ["evaluate", str(trained["rl2"]), "--trials", "40", "--out", str(tmp_path / "out")]
    for rule in ([], ["--decode", "argmax"]):
        run(*line, *rule, capsys=capsys)
    done = {(row[2], row[3]) for row in results.done(tmp_path / "out")} - {
        (name, 0) for name in ("random", "oracle", "bayes")
    }
    assert done == {(line[1], 4), (f"{line[1]} (argmax)", 4)}


def test_rows_that_were_played_otherwise_are_refused(tmp_path, capsys):
    line = ["evaluate", "ucb1", *KEPT, "--out", str(tmp_path)]
    context = ["--track", "C", "--shots", "2"]
    run(*line, capsys=capsys)
    run(*line, *context, capsys=capsys)
    for other, said in (
        (["--eval-seed", "1"], "holds rows of bandit:k=2,n=4 with other trials or seeds"),
        (["--trials", "50"], "holds rows of bandit:k=2,n=4 with other trials or seeds"),
        (
            ["--family", "bandit:k=2,n=5", "--trials", "50"],
            "trials a split on bandit: 40 there, 50",
        ),
        (
            [*context, "--behaviour", "oracle"],
            "track C: 2 episode(s) of random there, 2 episode(s) of",
        ),
    ):
        assert said in run(*line, *other, code=2, capsys=capsys)[1]
