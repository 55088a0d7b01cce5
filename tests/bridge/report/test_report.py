"""Tables and figures derive from rows: checked on synthetic rows with known answers."""

import csv
import io
import re
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from rich.console import Console

from bridge import parquet
from bridge.errors import UserError
from bridge.evaluation import result_rows, results, schema
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.evaluation.stats import Interval
from bridge.references.random import Random
from bridge.references.registry import reference
from bridge.report import escape, figures, tables
from bridge.report.curves import Sums
from bridge.report.figures.looks import looks
from bridge.report.summary import Key, Line, Results
from bridge.tasks import family as make_family

FAMILY = "tabular_mdp"
MEANS = {"random": 1.0, "bayes": 3.0, "bayes_train": 2.0, "oracle": 5.0, "learner": 4.0}


def synthetic(
    method: str,
    split: str,
    mean: float,
    seeds: int,
    tasks: int = 24,
    trials: int = 64,
    family: str = FAMILY,
    shifts: tuple[float, ...] = (0.0,) * 10,
) -> pa.Table:
    """Rows whose trial returns average ``mean`` exactly, with task effects that all methods share."""
    effect = np.linspace(-1, 1, tasks)
    lines = []
    for seed in range(seeds):
        for task in range(tasks):
            for part in range(10):
                n = trials / 10
                centre = mean + shifts[part] + effect[task] + 0.1 * (seed - (seeds - 1) / 2)
                line = dict.fromkeys(schema.COLUMNS)
                line |= {
                    "suite_version": 2,
                    "family": family,
                    "split": split,
                    "method": method,
                    "seed": seed,
                    "track": "O",
                    "task_id": task,
                    "task_params": "{}",
                    "part": part,
                    "curve_point": 0,
                    "k_episodes": 4,
                    "k_transitions": 60,
                    "axis": split.split("/")[1] if "/" in split else "",
                    "level": int(split[-1]) if "/" in split else 0,
                    "shift_distance": 0.2 if "/" in split else 0.0,
                    "clue": "nothing",
                    "supervision": "none",
                    "adapts": "",
                    "exact_reference": "exact",
                    "config_hash": "c",
                    "family_hash": "f",
                }
                for metric in ("trial_return", "episode_return"):
                    line |= {
                        f"{metric}_n": n,
                        f"{metric}_sum": n * centre,
                        f"{metric}_sum_sq": n * (centre**2 + 1),
                    }
                lines.append(line)
    return pa.Table.from_pylist(lines, schema=schema.SCHEMA)


@pytest.fixture
def folder(tmp_path):
    results.open_folder(tmp_path)
    for split, harm in (("id", 0.0), ("shift/reward_noise/3", 1.0)):
        for method, mean in MEANS.items():
            shifted = mean - harm * (method in ("bayes_train", "learner"))
            rows = synthetic(method, split, shifted, seeds=5 if method == "learner" else 1)
            parquet.write(results.cell_path(tmp_path, rows), rows)
    return tmp_path


def test_scores_are_ratios_of_means(folder):
    read = Results(folder)
    assert read.score(Key(FAMILY, "id", "learner"), "oracle").mean == pytest.approx(0.75)
    assert read.score(Key(FAMILY, "id", "learner"), "bayes").mean == pytest.approx(1.5)
    assert read.score(
        Key(FAMILY, "shift/reward_noise/3", "learner"), "oracle"
    ).mean == pytest.approx(0.5)


def test_what_the_training_prior_costs(folder):
    harm = Results(folder).delta_prior(FAMILY, "shift/reward_noise/3")
    assert harm.mean == pytest.approx((3 - 1) / 4)
    assert harm.high - harm.low < 1e-6  # task effects are shared, so nothing is left to vary


def test_differences_are_paired_by_task(folder):
    """Task effects of +-1 are shared, so the paired interval is far narrower than the task spread."""
    difference = Results(folder).difference(Key(FAMILY, "id", "bayes"), "bayes_train")
    assert difference.mean == pytest.approx(1.0)
    assert difference.high - difference.low < 1e-6


def test_intervals_say_their_kind(folder):
    read = Results(folder)
    assert read.mean(Key(FAMILY, "id", "random")).kind == "bootstrap over tasks"
    assert read.mean(Key(FAMILY, "id", "learner")).kind == "t over seeds"


def test_on_a_finite_list_of_tasks_one_seed_has_replicates(tmp_path):
    """Ten parts of the trials are replicates of the split: means, scores and paired differences have a t over them."""
    noise = np.random.default_rng(0).normal(size=(len(MEANS), 10))
    for (method, mean), shifts in zip(MEANS.items(), noise, strict=True):
        rows = synthetic(method, "id", mean, seeds=1, family="gridnavi", shifts=shifts)
        parquet.write(results.cell_path(tmp_path, rows), rows)
    value = {m: mean + shifts for (m, mean), shifts in zip(MEANS.items(), noise, strict=True)}
    read, key = Results(tmp_path), Key("gridnavi", "id", "bayes")

    def expected(values):
        return scipy.stats.t.interval(0.95, 9, values.mean(), values.std(ddof=1) / np.sqrt(10))

    for found, values in (
        (read.mean(key), value["bayes"]),
        (read.difference(key, "bayes_train"), value["bayes"] - value["bayes_train"]),
    ):
        assert found.kind == "t over 10 parts of the trials"
        assert found.n == 24 * 64
        assert (found.low, found.high) == pytest.approx(expected(values))
    gap, low = (value["oracle"] - value["random"]).mean(), value["random"].mean()
    score = (value["bayes"].mean() - low) / gap
    linear = (
        score + (value["bayes"] - (1 - score) * value["random"] - score * value["oracle"]) / gap
    )
    assert (read.score(key).low, read.score(key).high) == pytest.approx(expected(linear))


def test_rows_that_appear_twice_are_refused(folder):
    first = results.files(folder)[0]
    (folder / "rows" / "copy.parquet").write_bytes(first.read_bytes())
    with pytest.raises(UserError, match="appear twice"):
        Results(folder)


def test_rows_played_differently_are_refused(folder):
    rows = synthetic("greedy", "id", 1.0, seeds=1)
    other = rows.set_column(
        rows.schema.get_field_index("config_hash"), "config_hash", pa.array(["x"] * len(rows))
    )
    parquet.write(folder / "rows" / "other.parquet", other)
    with pytest.raises(UserError, match="different trials or seeds"):
        Results(folder)


def test_results_are_the_same_whatever_the_folder_is_called(folder, tmp_path):
    """Folders that look like partitions of a dataset say nothing about the rows in them."""

    def written(place) -> str:
        return tables.comma_separated(Results(place).lines(FAMILY, "id"))

    expected = written(folder)
    for place in ("method=rl2", "trial_return_sum=0", "track=C", "seed=7/split=id"):
        shutil.copytree(folder / "rows", tmp_path / place / "rows")
        assert written(tmp_path / place) == expected


def test_seeds_whose_episodes_end_at_different_times_share_their_curve_points(tmp_path):
    """Two seeds with 60 and 63 transitions behind the only point: one point, at their mean."""
    rows = synthetic("learner", "id", 4.0, seeds=2)
    transitions = pa.array([60 + 3 * seed for seed in rows["seed"].to_pylist()])
    rows = rows.set_column(
        rows.schema.get_field_index("k_transitions"), "k_transitions", transitions
    )
    parquet.write(results.cell_path(tmp_path, rows), rows)
    ((episodes, behind, interval),) = Results(tmp_path).curve(Key(FAMILY, "id", "learner"))
    assert (episodes, behind) == (4, 62)
    assert (interval.mean, interval.n) == (pytest.approx(4.0), 2)


@pytest.mark.parametrize("spec", ["gridnavi:tasks=8", "bandit:k=2,n=3"])
def test_rows_at_hand_are_read_as_those_of_a_folder(spec, tmp_path):
    family = make_family(spec)
    results.open_folder(tmp_path)
    at_hand = []
    for agent in (Random(family), reference("oracle", family, "id")):
        played = evaluate(agent, family, Plan(trials=50))
        at_hand.append(result_rows.columns(played, family, agent.card))
        table = result_rows.table(played, family, agent.card)
        parquet.write(results.cell_path(tmp_path, table), table)
    lines = list(Results(at_hand).lines(family.id, "id"))
    assert len(lines) >= 10
    assert lines == list(Results(tmp_path).lines(family.id, "id"))


def test_a_file_of_several_methods_is_read_as_several_files(folder, tmp_path):
    joined = pa.concat_tables(
        [results.read_file(path) for path in results.files(folder)]
    ).unify_dictionaries()
    parquet.write(tmp_path / "one" / "rows" / "all.parquet", joined)
    assert list(Results(tmp_path / "one").lines(FAMILY, "id")) == list(
        Results(folder).lines(FAMILY, "id")
    )


def test_a_damaged_file_is_named(folder):
    """A bit of its eighth byte, which DuckDB reported without a name."""
    path = results.files(folder)[3]
    whole = path.read_bytes()
    path.write_bytes(whole[:8] + bytes([whole[8] ^ 1]) + whole[9:])
    with pytest.raises(
        UserError, match=rf"{re.escape(str(path))} cannot be read .*Remove it and run compare again"
    ):
        Results(folder)


def test_folders_without_a_row_are_refused(tmp_path):
    parquet.write(tmp_path / "rows" / "none.parquet", schema.SCHEMA.empty_table())
    with pytest.raises(UserError, match=r"no file holds a row\. Compare again"):
        Results(tmp_path)


def test_worst_fifth_of_tasks(folder):
    effect = np.linspace(-1, 1, 24)
    weights = np.r_[np.ones(4), 0.8]
    expected = 1.0 + (effect[:5] * weights).sum() / weights.sum()
    assert Results(folder).cvar(Key(FAMILY, "id", "random")).mean == pytest.approx(expected)


def test_few_seeds_with_a_skewed_spread_are_warned_of(folder):
    """Of five seeds one fails: a sentence in the page, a line in the CSV. Seeds that spread evenly have neither."""
    for seed, mean in enumerate((4.0, 4.01, 3.99, 4.02, 1.0)):
        rows = synthetic("brittle", "id", mean, seeds=1)
        rows = rows.set_column(
            rows.schema.get_field_index("seed"), "seed", pa.array([seed] * len(rows))
        )
        parquet.write(results.cell_path(folder, rows), rows)
    read = Results(folder)
    warned = [line for line in read.lines(FAMILY, "id") if line.metric == "seed_skewness"]
    assert [(line.key.method, line.interval.n) for line in warned] == [("brittle", 5)]
    assert warned[0].interval.mean == pytest.approx(
        -1.5, abs=0.01
    )  # all that one of five can reach
    (sentence,) = tables.skewed(warned)
    assert sentence.startswith(
        "Returns of few seeds are skewed: brittle on tabular_mdp (5 seeds; id). Their 95% intervals"
    )
    assert sentence in tables.markdown(read)
    assert "brittle,O,seed_skewness,-1.4" in tables.comma_separated(warned)


def test_of_many_methods_with_a_skewed_spread_the_first_are_named(folder):
    (line,) = (
        line
        for line in Results(folder).lines(FAMILY, "id")
        if line.key.method == "learner" and line.metric == "trial_return"
    )
    many = [
        replace(line, key=line.key._replace(method=f"m{i}"), metric="seed_skewness")
        for i in range(9)
    ]
    (sentence,) = tables.skewed(many)
    assert "m3 on tabular_mdp (5 seeds; id), 5 more methods. Their" in sentence
    assert "m4" not in sentence


def test_a_split_of_two_tracks_is_named_once(folder):
    (line,) = (
        line
        for line in Results(folder).lines(FAMILY, "id")
        if line.key.method == "learner" and line.metric == "trial_return"
    )
    shown = replace(line, key=line.key._replace(track="C"))
    (sentence,) = tables.skewed(replace(x, metric="seed_skewness") for x in (line, shown))
    assert "learner on tabular_mdp (5 seeds; id). Their" in sentence


def test_iqm_only_for_several_seeds(folder):
    read = Results(folder)
    assert read.iqm(Key(FAMILY, "id", "random")) is None
    assert read.iqm(Key(FAMILY, "id", "learner")).mean == pytest.approx(4.0, abs=0.05)


def test_the_probability_of_improvement_is_over_pairs_of_seeds_and_tasks(folder):
    """Seeds of the learner are at 3.8, 3.9, 4, 4.1 and 4.2 on every task; rivals at 4 lose to two, and tie with one."""
    rows = synthetic("rival", "id", 4.0, seeds=1)
    parquet.write(results.cell_path(folder, rows), rows)
    read, key = Results(folder), Key(FAMILY, "id", "learner")
    assert read.improvement(key, "rival").mean == pytest.approx((2 + 0.5) / 5)
    assert read.improvement(key, "oracle").mean == 0
    assert read.improvement(key, "nobody") is None


def test_a_method_that_earned_nothing_at_all_is_reported(folder):
    """Of zeros alone there is no interquartile mean; all other numbers stand."""
    rows = synthetic("lost", "id", 0.0, seeds=2, tasks=1)
    for name in ("trial_return_sum", "episode_return_sum"):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array([0.0] * len(rows)))
    parquet.write(results.cell_path(folder, rows), rows)
    read, key = Results(folder), Key(FAMILY, "id", "lost")
    assert read.iqm(key) is None
    assert {line.metric: line.interval.mean for line in read.lines_of(key)}["trial_return"] == 0


def test_markdown_and_csv_hold_the_same_means(folder):
    read = Results(folder)
    page = tables.markdown(read)
    assert page.index("· id") < page.index("· shift/reward_noise/3")
    assert "Δ_prior = 0.5" in page
    lines = [line for split in read.splits(FAMILY) for line in read.lines(FAMILY, split)]
    written = list(csv.DictReader(tables.comma_separated(lines).splitlines()))
    found = {
        (r["split"], r["method"]): float(r["mean"])
        for r in written
        if r["metric"] == "trial_return"
    }
    assert found["id", "oracle"] == 5.0
    assert found["shift/reward_noise/3", "learner"] == pytest.approx(3.0)
    assert {r["interval"] for r in written} >= {"bootstrap over tasks", "t over seeds"}


def refusing(method: str, split: str, by_seed: list[list[tuple[float, float]]]) -> pa.Table:
    """Rows whose trials (two a task) have taken and refused so many gradient steps on average at each curve point."""
    lines = []
    for seed, points in enumerate(by_seed):
        for point, (taken, refused) in enumerate(points):
            counted = {
                "seed": seed,
                "curve_point": point,
                "test_grad_steps": taken,
                "test_refused_steps": refused,
            }
            lines += [
                row | counted for row in synthetic(method, split, 1.0, 1, trials=2).to_pylist()
            ]
    return pa.Table.from_pylist(lines, schema=schema.SCHEMA)


def test_refused_gradient_steps_are_counted_over_seeds_and_shown(folder):
    """At the last curve point the two seeds have refused 1.5 and 0 of the 3 steps that each of their 48 trials had."""
    assert not any(
        "refused" in text for text in (tables.markdown(Results(folder)), *tables.refusals([]))
    )
    for split, by_seed in (
        ("id", [[(0.5, 0.5), (1.5, 1.5)], [(1.0, 0.0), (3.0, 0.0)]]),
        ("shift/reward_noise/3", [[(0.0, 2.0)]]),
    ):
        rows = refusing("maml", split, by_seed)
        parquet.write(results.cell_path(folder, rows), rows)
    read = Results(folder)
    share = read.refused(Key(FAMILY, "id", "maml"))
    assert (share.mean, share.n) == (0.25, 288)
    assert read.refused(Key(FAMILY, "id", "learner")) is None
    lines = [line for split in read.splits(FAMILY) for line in read.lines(FAMILY, split)]
    sentence = "maml on tabular_mdp: gradient steps refused at test, as no number or too long: "
    worst = "96 of 96 on shift/reward_noise/3"
    assert tables.refusals(lines) == [f"{sentence}{worst}, 72 of 288 on id."]
    assert f"\n\n{sentence}72 of 288 on id.\n" in tables.markdown(read)
    assert "maml,O,refused_steps,0.25," in tables.comma_separated(lines)


def test_of_many_splits_those_with_most_refusals_are_named():
    lines = [
        Line(
            Key("f", f"shift/{i}", "m"),
            "refused_steps",
            Interval(i / 10, 0.0, 0.0, 10, "all steps"),
            1,
            1,
        )
        for i in range(1, 7)
    ]
    (said,) = tables.refusals(lines)
    assert said.endswith(
        ": 6 of 10 on shift/6, 5 of 10 on shift/5, 4 of 10 on shift/4, 3 of 10 on shift/3, some on 2 more splits."
    )


def test_terminal_table_fits_eighty_columns(folder):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tables.terminal(Results(folder), FAMILY, "id"))
    text = console.export_text()
    assert "…" not in text
    assert "learner" in text


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((6.6587, 6.6447, 6.6727), "6.659 ±0.014"),
        ((1234.5, 1200.0, 1269.0), "1234 ±34"),
        ((-41.9, -41.956, -41.844), "-41.90 ±0.06"),
        ((0.5, 0.5, 0.5), "0.5"),
        ((2.0, float("nan"), float("nan")), "2 (n=1)"),
    ],
)
def test_numbers_carry_two_digits_of_their_error(interval, text):
    assert tables.number(Interval(*interval, 100, "trials")) == text


def test_no_number_is_a_dash():
    assert tables.number(None) == "–"


def test_names_with_markup_are_shown_as_they_are(folder):
    """In the terminal, on the page, in the CSV, and in the legends of figures."""
    names = ("x [y[/x]", "a|b `c`", "=1+1", "_x_", "$a$")
    for name in names:
        for split in ("id", "shift/reward_noise/3"):
            rows = synthetic(name, split, 2.5, seeds=1)
            parquet.write(results.cell_path(folder, rows), rows)
    read, console = Results(folder), Console(width=80, record=True, file=io.StringIO())
    console.print(tables.terminal(read, FAMILY, "id"))
    terminal, page = console.export_text(), tables.markdown(read)
    lines = csv.DictReader(io.StringIO(tables.comma_separated(read.lines(FAMILY, "id"))))
    methods = {row["method"] for row in lines}
    drawn = [
        figure.axes[0].get_legend_handles_labels()[1]
        for _, figure in figures.figures(read, FAMILY, looks({}, read.methods(FAMILY)))
    ]
    assert drawn
    for name in names:
        assert name in terminal
        assert f"| {escape.markdown(name)} |" in page
        assert escape.comma_separated(name) in methods
        assert all(escape.figure(name) in labels for labels in drawn)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no results"):
        Results(tmp_path)


def test_a_million_rows_are_comfortable(tmp_path):
    """Not a timed test: it only shows that aggregates of 10^6 rows come out right."""

    def at_seed(table, seed):
        return table.set_column(
            table.schema.get_field_index("seed"), "seed", pa.array([seed] * len(table))
        )

    one = synthetic("random", "id", 2.0, seeds=1, tasks=500)
    parquet.write(
        tmp_path / "rows" / "many.parquet",
        pa.concat_tables([at_seed(one, seed) for seed in range(200)]),
    )
    assert Results(tmp_path).mean(Key(FAMILY, "id", "random")).mean == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("exact", "clue", "supervision", "mark"),
    [
        ("exact", "task", "prior", "=T"),
        ("near", "nothing", "prior", "≈p"),
        ("", "nothing", "none", ""),
        ("", "nothing", "reward", "r"),
        ("", "nothing", "reward, task in critic", "rt"),
        ("", "nothing", "histories", "h"),
        ("", "nothing", "optimal_actions", "a"),
    ],
)
def test_narrow_tables_mark_what_a_method_was_told_or_trained_on(exact, clue, supervision, mark):
    assert tables.mark({"exact": exact, "clue": clue, "supervision": supervision}) == mark


def test_tasks_of_which_a_seed_has_no_trial_are_left_out_of_the_table():
    """Two seeds, three tasks, two parts; the second seed has no trial of the last task that counts."""
    parts = np.zeros((3, 2, 3, 2))
    parts[0] = [[[1, 1], [2, 0], [1, 1]], [[1, 1], [1, 1], [0, 0]]]
    parts[1] = [[[1, 3], [8, 0], [5, 5]], [[0, 2], [6, 6], [0, 0]]]
    assert Sums(parts).table.tolist() == [[2.0, 4.0], [1.0, 6.0]]
