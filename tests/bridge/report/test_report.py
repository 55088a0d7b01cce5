"""Tables and figures derive from rows: checked on synthetic rows with known answers."""

import csv
import io

import numpy as np
import pyarrow as pa
import pytest

from bridge import results
from bridge.errors import UserError
from bridge.report import figures, tables
from bridge.report.summary import Key, Results
from bridge.stats import Interval

FAMILY = "tabular_mdp"
MEANS = {"random": 1.0, "bayes": 3.0, "bayes_train": 2.0, "oracle": 5.0, "learner": 4.0}


def synthetic(
    method: str, split: str, mean: float, seeds: int, tasks: int = 24, trials: int = 64, family: str = FAMILY
) -> pa.Table:
    """Rows whose trial returns average ``mean`` exactly, with task effects that all methods share."""
    effect = np.linspace(-1, 1, tasks)
    lines = []
    for seed in range(seeds):
        for task in range(tasks):
            for half in range(2):
                n = trials / 2
                centre = mean + effect[task] + 0.1 * (seed - (seeds - 1) / 2)
                line = dict.fromkeys(results.COLUMNS)
                line |= {
                    "suite_version": 1, "family": family, "split": split, "method": method, "seed": seed, "track": "O",
                    "task_id": task, "task_params": "{}", "half": half, "curve_point": 0, "k_episodes": 4,
                    "k_transitions": 60,
                    "axis": split.split("/")[1] if "/" in split else "", "level": int(split[-1]) if "/" in split else 0,
                    "shift_distance": 0.2 if "/" in split else 0.0, "clue": "nothing", "supervision": "none",
                    "exact_reference": "",
                }  # fmt: skip
                for metric in ("trial_return", "episode_return"):
                    line |= {f"{metric}_n": n, f"{metric}_sum": n * centre, f"{metric}_sum_sq": n * (centre**2 + 1)}
                lines.append(line)
    return pa.Table.from_pylist(lines, schema=results.SCHEMA)


@pytest.fixture
def folder(tmp_path):
    results.open_folder(tmp_path)
    for split, harm in (("id", 0.0), ("shift/reward_noise/3", 1.0)):
        for method, mean in MEANS.items():
            shifted = mean - harm * (method in ("bayes_train", "learner"))
            rows = synthetic(method, split, shifted, seeds=5 if method == "learner" else 1)
            results.write_table(results.cell_path(tmp_path, rows), rows)
    return tmp_path


def test_scores_are_ratios_of_means(folder):
    read = Results(folder)
    assert read.score(Key(FAMILY, "id", "learner"), "oracle").mean == pytest.approx(0.75)
    assert read.score(Key(FAMILY, "id", "learner"), "bayes").mean == pytest.approx(1.5)
    assert read.score(Key(FAMILY, "shift/reward_noise/3", "learner"), "oracle").mean == pytest.approx(0.5)


def test_unavoidable_harm_of_shift(folder):
    assert Results(folder).delta_prior(FAMILY, "shift/reward_noise/3") == pytest.approx((3 - 1) / 4)


def test_differences_are_paired_by_task(folder):
    """Task effects of +-1 are shared, so the paired interval is far narrower than the task spread."""
    difference = Results(folder).difference(Key(FAMILY, "id", "bayes"), "bayes_train")
    assert difference.mean == pytest.approx(1.0)
    assert difference.high - difference.low < 1e-6


def test_intervals_say_their_kind(folder):
    read = Results(folder)
    assert read.mean(Key(FAMILY, "id", "random")).kind == "bootstrap over tasks"
    assert read.mean(Key(FAMILY, "id", "learner")).kind == "t over seeds"


def test_on_a_finite_list_of_tasks_one_seed_speaks_of_trials(tmp_path):
    """The spread between tasks does not count: 24 tasks x 64 trials of variance 1 (n - 1 in each half's pool)."""
    for method, mean in MEANS.items():
        rows = synthetic(method, "id", mean, seeds=1, family="gridnavi")
        results.write_table(results.cell_path(tmp_path, rows), rows)
    read, key = Results(tmp_path), Key("gridnavi", "id", "bayes")
    error = np.sqrt(1 / 63 / 24)
    mean = read.mean(key)
    assert mean.kind == "trials on fixed tasks"
    assert mean.high - mean.mean == pytest.approx(1.96 * error)
    score = read.score(key)  # (3 - 1) / (5 - 1): error^2 (1 + 0.5^2 + 0.5^2) / 4^2
    assert score.high - score.mean == pytest.approx(1.96 * error * np.sqrt(1.5) / 4)
    difference = read.difference(key, "bayes_train")
    assert difference.high - difference.mean == pytest.approx(1.96 * error * np.sqrt(2))


def test_worst_fifth_of_tasks(folder):
    effect = np.linspace(-1, 1, 24)
    weights = np.r_[np.ones(4), 0.8]
    expected = 1.0 + (effect[:5] * weights).sum() / weights.sum()
    assert Results(folder).cvar(Key(FAMILY, "id", "random")).mean == pytest.approx(expected)


def test_iqm_only_for_several_seeds(folder):
    read = Results(folder)
    assert read.iqm(Key(FAMILY, "id", "random")) is None
    assert read.iqm(Key(FAMILY, "id", "learner")).mean == pytest.approx(4.0, abs=0.05)


def test_markdown_and_csv_hold_the_same_means(folder):
    read = Results(folder)
    page = tables.markdown(read)
    assert page.index("· id") < page.index("· shift/reward_noise/3")
    assert "Δ_prior = 0.500" in page
    lines = [line for split in read.splits(FAMILY) for line in read.lines(FAMILY, split)]
    written = list(csv.DictReader(tables.comma_separated(lines).splitlines()))
    found = {(r["split"], r["method"]): float(r["mean"]) for r in written if r["metric"] == "trial_return"}
    assert found["id", "oracle"] == 5.0
    assert found["shift/reward_noise/3", "learner"] == pytest.approx(3.0)
    assert {r["interval"] for r in written} >= {"bootstrap over tasks", "t over seeds"}


def test_terminal_table_fits_eighty_columns(folder):
    from rich.console import Console

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
    assert tables.number(Interval(*interval, 100, "trials", 0.95)) == text


def test_no_number_is_a_dash():
    assert tables.number(None) == "–"


def test_figures_are_written_as_png_and_svg_and_are_deterministic(folder, tmp_path):
    made = figures.draw(Results(folder), tmp_path / "one")
    again = figures.draw(Results(folder), tmp_path / "two")
    assert {p.name for p in made} == {"tabular_mdp-curves.png", "tabular_mdp-shift.png"}
    for first, second in zip(made, again, strict=True):
        assert first.with_suffix(".svg").read_bytes() == second.with_suffix(".svg").read_bytes()


def test_methods_keep_distinct_looks():
    names = ("random", "oracle", "bayes", "bayes_train", *figures._ORDER)
    looks = [(s["color"], str(s["linestyle"]), s["marker"]) for s in map(figures.style, names)]
    assert len(set(looks)) == len(looks)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no results"):
        Results(tmp_path)


def test_a_million_rows_are_comfortable(tmp_path):
    """Not a timed test: it only shows that aggregates of 10^6 rows come out right."""
    one = synthetic("random", "id", 2.0, seeds=1, tasks=500)
    results.write_table(tmp_path / "rows" / "many.parquet", pa.concat_tables([one] * 1000))
    assert Results(tmp_path).mean(Key(FAMILY, "id", "random")).mean == pytest.approx(2.0)
