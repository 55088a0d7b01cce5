"""The study of concerns: its specs are real, the best configuration is chosen, scores are by task."""

import csv
import dataclasses
import sys

import numpy as np
import pytest
from scipy import stats

from bridge.errors import UserError
from bridge.tasks import family as make_family
from experiments import registry
from experiments.registry import LEARNERS
from experiments.studies.concerns import scores, tables
from experiments.studies.concerns.making import Maker, Score
from experiments.studies.concerns.mitigations import PLAIN, SPECIALISTS, Mitigation, mitigations
from experiments.studies.concerns.scores import Entry, Found, Results
from experiments.studies.concerns.study import SIZES, Study
from experiments.studies.concerns.testbeds import SLOW, TESTBEDS

OPPOSED = TESTBEDS[1]


def entries() -> list[Entry]:
    return [
        Entry(testbed, value, row)
        for testbed in TESTBEDS + SLOW
        for value in (testbed.bottom, testbed.top)
        for row in (PLAIN, SPECIALISTS, *mitigations(testbed, every=True))
        if row in (PLAIN, SPECIALISTS) or make_family(testbed.at(value)).tasks > 1
    ]


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: "-".join(entry.key))
def test_every_configuration_is_one_of_a_method_on_a_family_with_known_tasks(entry) -> None:
    assert make_family(entry.family).tasks > 1 or entry.family == "minigrid:steps=100,tasks=1"
    configurations = entry.row.configurations(entry.testbed)
    assert len(configurations) == len(PLAIN.configurations(entry.testbed))
    for tuned in configurations:
        spec = entry.row.spec(entry.testbed, tuned)
        learner = LEARNERS[registry.name_of(spec)]
        learner.learner(make_family(entry.family), registry.configure(spec, learner), seed=0)


def test_names_of_mitigations_are_distinct() -> None:
    for testbed in TESTBEDS + SLOW:
        names = [row.name for row in (PLAIN, SPECIALISTS, *mitigations(testbed, every=True))]
        assert len(set(names)) == len(names)


def test_a_mitigation_overrides_its_testbed_and_widens_it() -> None:
    scales, _, many, sequence = TESTBEDS

    own = Mitigation("own", settings="advantages=standardised")
    assert own.spec(scales, 0.1) == "mtrl:advantages=standardised,hidden=64,lr=0.1"
    assert Mitigation("wide", widened=4).spec(many, 0.03) == "mtrl:hidden=32,lr=0.03"
    kept = Mitigation("ewc", settings="keep=ewc")
    assert kept.spec(sequence, 10.0) == "mtrl_sequence:hidden=64,keep=ewc,lr=0.03,strength=10"


@pytest.fixture
def returns(monkeypatch) -> dict:
    """Mean trial returns by (method, seed), in place of rows: random 2 and 20, the oracle 4 and 40 on two tasks."""
    known = {("random", 0): [2.0, 20.0], ("oracle", 0): [4.0, 40.0]}
    monkeypatch.setattr(scores, "_returns", lambda cell: np.array(known[cell.method, cell.seed]))
    monkeypatch.setattr(scores, "_seconds", lambda cell: 1.0 + cell.seed)
    return known


def score_of(cells, out) -> Score:
    return scores.scorer(Maker(out, 100).references(cell.family.id for cell in cells))


def best_of(study: Study) -> dict:
    return {(entry.testbed.name, entry.row.name): 0.03 for entry, _ in study.tuning()}


def test_scores_are_by_task_whatever_the_unit_of_its_rewards(returns, tmp_path) -> None:
    study = Study(dataclasses.replace(SIZES["smoke"], seeds=(0, 1)), tmp_path)
    entry = Entry(OPPOSED, OPPOSED.top, PLAIN)
    cells = {key: cell for key, cell in study.final(best_of(study)).items() if key[0] == entry}
    returns |= {("plain:0.03", 0): [3.0, 40.0], ("plain:0.03", 1): [2.0, 30.0]}

    score = score_of(cells.values(), tmp_path)
    found = scores.read(cells, score, best_of(study)).found[entry.key]
    assert found.score.tolist() == [[0.5, 1.0], [0.0, 0.5]]
    assert found.seconds == 1.5


def test_without_an_oracle_the_largest_return_is_1(returns, tmp_path) -> None:
    """Two episodes of at most 1 each: a trial that earns 1 is halfway from random play, which earns 0."""
    make = Maker(tmp_path, 100)
    cell = make.trained("mtrl", "minigrid:steps=100,tasks=2", "plain", 0, 1e4)
    returns |= {("random", 0): [0.0, 0.0], ("plain", 0): [1.0, 0.5]}
    references = make.references([cell.family.id])

    assert [cell.method for cell in references] == ["random"]
    assert scores.scorer(references)(cell).tolist() == [0.5, 0.25]


def test_the_configuration_with_the_highest_mean_score_is_chosen(returns, tmp_path) -> None:
    study = Study(SIZES["smoke"], tmp_path)
    tuning = {key: cell for key, cell in study.tuning().items() if key[0].row is PLAIN}
    seed = registry.TUNING_SEED
    # the sum of returns is highest at the last, the mean score at the second
    returns |= {
        ("plain:0.01", seed): [2.0, 20.0],
        ("plain:0.03", seed): [4.0, 28.0],
        ("plain:0.1", seed): [2.0, 38.0],
    }

    score = score_of(tuning.values(), tmp_path)
    assert scores.best(tuning, score) == {("opposed", "plain"): 0.03}


def test_tuning_has_noise_and_a_seed_of_its_own(tmp_path) -> None:
    study = Study(SIZES["quick"], tmp_path)
    tuning, final = study.tuning().values(), study.final(best_of(study)).values()

    assert {cell.seed for cell in tuning} == {registry.TUNING_SEED}
    assert {cell.seed for cell in final} == set(range(5))
    assert {cell.plans[0].eval_seed for cell in tuning} == {1}
    assert {cell.plans[0].eval_seed for cell in final} == {0}


def test_every_training_of_the_study_has_a_place_of_its_own(tmp_path) -> None:
    """No two trainings that differ share rows or a run folder; those that are equal are one cell."""
    study = Study(SIZES["quick"], tmp_path)
    final = study.final(best_of(study))
    measures = study.measures(best_of(study), final)
    cells = [*final.values(), *(cell for x in measures for cell in x.cells().values())]

    by_place, by_run = {}, {}
    for cell in cells:
        assert by_place.setdefault(cell.place(cell.plans[0]), cell) == cell
        assert by_run.setdefault(cell.training.out, cell.training) == cell.training
    assert len(by_place) == len(by_run)
    for cell in by_place.values():
        registry.configure(cell.spec, LEARNERS[registry.name_of(cell.spec)])


def test_a_gain_is_the_difference_of_means_over_seeds() -> None:
    plain, heads = (Entry(OPPOSED, OPPOSED.top, row) for row in (PLAIN, Mitigation("heads")))
    low = np.array([[0.1, 0.3], [0.2, 0.4], [0.3, 0.2]])
    high = np.array([[0.5, 0.9], [0.6, 0.9], [0.9, 0.5]])
    found = {plain.key: Found(low, 1.0, 0.03), heads.key: Found(high, 2.5, 0.1)}
    gain = Results(found, (plain, heads)).gain(heads, plain)

    welch = stats.ttest_ind(high.mean(1), low.mean(1), equal_var=False).confidence_interval()
    assert gain.mean == pytest.approx(high.mean() - low.mean())
    assert (gain.low, gain.high) == pytest.approx(tuple(welch))


def test_the_table_has_gains_times_and_dashes() -> None:
    both = [
        Entry(bed, value, row)
        for bed in TESTBEDS[1:3]
        for value in (bed.bottom, bed.top)
        for row in (PLAIN, SPECIALISTS)
    ]
    heads = Entry(OPPOSED, OPPOSED.top, Mitigation("heads", "gradient interference"))
    score = np.array([[0.5, 0.5], [0.5, 0.5]])
    found = {entry.key: Found(score, 1.0, 0.03) for entry in both}
    found[heads.key] = Found(score + 0.25, 2.5, 0.1)
    text = tables.text(Results(found, (*both, heads)))

    assert "| heads | gradient interference | 0.250 ±0.000 | 2.5 | - | - |" in text
    assert "| on opposed (+) | time |" in text
    assert "| plain less specialists (+) |" in text
    assert (
        "| opposed | gradient interference | share of tasks with opposite best actions | 0 | 0.500"
        in text
    )


def test_a_package_that_is_missing_is_told_before_anything_is_trained(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(UserError, match=r"pip install 'metabridge\[minigrid\]'"):
        Study(SIZES["small"], tmp_path).run()
    assert not list(tmp_path.iterdir())


def test_the_files_have_scores_by_seed_means_and_by_task(tmp_path) -> None:
    entry = Entry(OPPOSED, OPPOSED.top, PLAIN)
    score = np.array([[0.5, 0.1], [0.7, 0.3]])
    tables.write(Results({entry.key: Found(score, 1.5, 0.03)}, (entry,)), tmp_path)
    whole, tasks = (
        list(csv.DictReader((tmp_path / name).read_text().splitlines()))
        for name in ("concerns.csv", "tasks.csv")
    )

    (line,) = whole
    assert (line["mitigation"], line["configuration"], line["seeds"]) == ("plain", "0.03", "2")
    assert (float(line["score"]), float(line["seconds_a_step"])) == pytest.approx((0.4, 1.5))
    assert [(x["task"], float(x["score"])) for x in tasks] == [
        ("0", pytest.approx(0.6)),
        ("1", pytest.approx(0.2)),
    ]
    half = stats.t.ppf(0.975, 1) * 0.1
    assert float(tasks[1]["high"]) == pytest.approx(0.2 + half, rel=1e-4)


@pytest.mark.slow
def test_a_study_is_done_once(tmp_path, capsys) -> None:
    bed = OPPOSED._replace(steps=4_000)
    size = dataclasses.replace(SIZES["smoke"], testbeds=(bed,), share=1.0, trials=40)
    found, _ = Study(size, tmp_path).run()
    written = {path: path.stat().st_mtime for path in (tmp_path / "rows").iterdir()}
    again, _ = Study(size, tmp_path).run()

    assert {path: path.stat().st_mtime for path in (tmp_path / "rows").iterdir()} == written
    assert all((again.found[key].score == one.score).all() for key, one in found.found.items())
