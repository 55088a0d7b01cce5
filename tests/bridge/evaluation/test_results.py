"""Rows say exactly what was played; files are whole or absent; folders of another suite are refused."""

import errno
import json
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from bridge import parquet
from bridge.errors import UserError
from bridge.evaluation import result_rows, results, schema
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.evaluation.sums import METRICS
from bridge.references.bandit.bayes import bayes
from bridge.references.random import Random
from bridge.tasks.bandit import Bandit
from bridge.tasks.sparse_point import SparsePoint

FAMILY = Bandit(k=3, n=4)


def table(split: str = "id", **plan) -> pa.Table:
    played = evaluate(bayes(FAMILY, split), FAMILY, Plan(split=split, trials=500, **plan))
    return result_rows.table(played, FAMILY, bayes(FAMILY, split).card)


def test_rows_hold_every_trial_once_and_the_very_sums():
    played = evaluate(Random(FAMILY), FAMILY, Plan(trials=500))
    rows = result_rows.table(played, FAMILY, Random(FAMILY).card)
    assert rows.schema.names == list(schema.COLUMNS)
    last = rows.filter(pc.equal(rows["curve_point"], len(played.points) - 1))
    for metric in METRICS:
        for part, value in zip(("n", "sum", "sum_sq"), played.pooled(metric), strict=True):
            assert np.nansum(last[f"{metric}_{part}"].to_numpy()) == pytest.approx(value)
    assert set(rows["part"].to_pylist()) == {0, 1}
    assert last["episode_return_n"].to_numpy().sum() == 500


@pytest.mark.parametrize(
    "family", [FAMILY, SparsePoint(episodes=1)], ids=lambda family: family.name
)
def test_steps_hold_the_detail_and_come_back_from_a_file(family, tmp_path):
    played = evaluate(Random(family), family, Plan(trials=20))
    parquet.write(tmp_path / "steps.parquet", result_rows.details(played.detail))
    found = pq.read_table(tmp_path / "steps.parquet")
    assert found.schema.names == list(played.detail)
    for name, expected in played.detail.items():
        assert np.array(found[name].to_pylist()).tolist() == expected.tolist()


def test_rows_name_what_was_played():
    row = table("shift/prior/3").slice(0, 1).to_pylist()[0]
    expected = {
        "family": "bandit:k=3,n=4",
        "split": "shift/prior/3",
        "axis": "prior",
        "level": 3,
        "shift_distance": 2.0,
        "method": "bayes",
        "exact_reference": "exact",
        "track": "O",
        "suite_version": 2,
        "family_hash": FAMILY.hash,
        "supervision": "prior",
        "clue": "nothing",
        "delta_prior": None,
        "selection_rule": "none",
    }
    assert {key: row[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("family", "split", "clue"),
    [
        (Bandit(k=3, n=4, tasks=2), "train", "id"),
        (Bandit(k=3, n=4, tasks=2), "id", "nothing"),
        (FAMILY, "train", "nothing"),
    ],
)
def test_the_clue_is_the_one_that_was_given(family, split, clue):
    """A policy that asks for a known task's id gets none where tasks are new."""
    asks = Random(family)
    asks.card = replace(asks.card, clue="id")
    played = evaluate(asks, family, Plan(split=split, trials=10))
    assert set(result_rows.table(played, family, asks.card)["clue"].to_pylist()) == {clue}


def test_task_parameters_stand_where_a_row_is_one_task():
    assert table()["task_params"].null_count == len(table())
    rows = table(trials_per_task=50)
    means = {json.dumps(json.loads(text)["means"]) for text in rows["task_params"].to_pylist()}
    assert len(means) == len(set(rows["task_id"].to_pylist())) == 10


def test_a_curve_point_knows_its_transitions():
    rows = table()
    assert rows["k_transitions"].to_pylist() == rows["k_episodes"].to_pylist()


def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "rows" / "cell.parquet"
    parquet.write(path, table())
    before = path.read_bytes()

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(UserError, match=r"disk is full.*make room"):
        parquet.write(path, table())
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["cell.parquet"]


def test_a_folder_of_another_suite_version_is_refused(tmp_path):
    results.open_folder(tmp_path)
    results.open_folder(tmp_path)
    (tmp_path / "suite.json").write_text('{"suite_version": 99}')
    with pytest.raises(UserError, match=r"suite version 99.*suite version 2"):
        results.open_folder(tmp_path)
    (tmp_path / "suite.json").write_text("not json")
    with pytest.raises(UserError, match=r"suite\.json cannot be read"):
        results.open_folder(tmp_path)


def test_done_lists_what_a_folder_holds(tmp_path):
    rows = table()
    parquet.write(results.cell_path(tmp_path, rows), rows)
    assert results.done(tmp_path) == {
        (FAMILY.id, FAMILY.hash, "bayes", 0, "id", 0.0, "O", Plan(trials=500).hash)
    }


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "broken.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"broken\.parquet cannot be read.*only its cell is redone"):
        results.done(tmp_path)


def test_no_flipped_bit_of_a_row_file_changes_a_number(tmp_path):
    rows, path, random = table(), tmp_path / "cell.parquet", np.random.default_rng(0)
    parquet.write(path, rows)
    whole, refused = path.read_bytes(), 0
    for place in random.choice(len(whole), 100, replace=False):
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << random.integers(8)]) + whole[place + 1 :]
        )
        try:
            found = results.read_file(path)
        except UserError:
            refused += 1
        else:
            assert found.equals(rows)
    assert refused >= 95  # all but those in the name of the checksum


def replaced(rows: pa.Table, name: str, values) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, values)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "seed",
            lambda rows: rows.append_column("seed", rows["seed"]),
            "expected once in the file, found 2 times",
        ),
        (
            "seed",
            lambda rows: replaced(rows, "seed", pa.array([0.5] * len(rows))),
            "expected int64, found double",
        ),
        (
            "seed",
            lambda rows: replaced(rows, "seed", pa.nulls(len(rows), pa.int64())),
            "expected a value in every row",
        ),
        (
            "split",
            lambda rows: replaced(rows, "split", pa.array([1.5] * len(rows))),
            "expected text, found double",
        ),
        (
            "regret_sum",
            lambda rows: replaced(rows, "regret_sum", pa.array(["x"] * len(rows))),
            "expected double, found string",
        ),
        (
            "regret_sum",
            lambda rows: replaced(rows, "regret_sum", pa.array([np.nan] * len(rows))),
            "expected finite numbers, found NaN",
        ),
        (
            "regret_sum",
            lambda rows: replaced(rows, "regret_sum", pa.array([np.inf] * len(rows))),
            "expected finite numbers, found NaN",
        ),
        (
            "part",
            lambda rows: replaced(rows, "part", pa.array([10] * len(rows))),
            "expected 0 to 9, found numbers from 10",
        ),
    ],
)
def test_a_column_that_no_evaluation_writes_is_named_with_its_file(tmp_path, name, change, message):
    path = tmp_path / "rows" / "cell.parquet"
    parquet.write(path, change(table()))
    with pytest.raises(
        UserError,
        match=rf"cell\.parquet: column {name}: {message}.*Remove it and run compare again",
    ):
        results.read_file(path)


def test_rows_of_an_earlier_version_are_to_be_played_again(tmp_path):
    path = tmp_path / "rows" / "cell.parquet"
    parquet.write(path, table().drop_columns("adapts"))
    remedy = f"lacks adapts: it was written by an earlier version. Remove {path.parent} and run"
    with pytest.raises(UserError, match=rf"cell\.parquet {re.escape(remedy)} compare again"):
        results.read_file(path)


def test_columns_of_a_narrower_type_are_read_as_ours(tmp_path):
    """As other programs write them: plain strings, 32 bits."""
    rows = table()
    narrow = replaced(
        replaced(rows, "split", rows["split"].cast(pa.string())),
        "seed",
        rows["seed"].cast(pa.int32()),
    )
    pq.write_table(narrow, tmp_path / "cell.parquet")
    found = results.read_file(tmp_path / "cell.parquet")
    assert found.schema.types == schema.SCHEMA.types
    assert found["split"].to_pylist() == rows["split"].to_pylist()


def test_cells_have_distinct_paths(tmp_path):
    tables = [table(), table("shift/prior/1"), table(track="F")]
    assert len({results.cell_path(tmp_path, t) for t in tables}) == 3
