"""Which tasks of a split are training tasks: by their parameters, in every family that is registered."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from bridge import parquet
from bridge.evaluation import result_rows, results
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.references.random import Random
from bridge.report import tables
from bridge.report.summary import Key, Results
from bridge.tasks import FAMILIES
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from bridge.tasks.overlap import are_training_tasks, count_training_tasks, task_keys

VARIANTS = (
    *FAMILIES,
    "gridnavi:train=inner",
    "gridnavi:tasks=8",
    "darkroom:train=inner",
    "darkroom:train=hole",
    "darkroom:variant=ad",
    "darkroom:tasks=8",
    "sparse_point:tasks=8",
    "point_nav:train=hole",
    "bandit:k=2,arms=dependent_easy",
    "bandit:k=2,arms=dependent_easy,tasks=1",
    "bandit:arms=one_best_hard",
    "bandit:arms=one_best_hard,tasks=3",
    "bandit:tasks=8",
    "tabular_mdp:tasks=2",
    "ant_dir:train=four",
    "metaworld:tasks=8",
)
OVERLAPS = {
    "gridnavi": (21, 21),
    "gridnavi:train=inner": (11, 11),
    "gridnavi:tasks=8": (8, 21),
    "minigrid": (3, 3),
    "cheetah_dir": (2, 2),
    "ant_dir:train=four": (4, 4),
    "gym": (1, 1),
    "bandit:k=2,arms=dependent_easy": (2, 2),
    "bandit:k=2,arms=dependent_easy,tasks=1": (1, 2),
    "bandit:arms=one_best_hard": (5, 5),
    "bandit:arms=one_best_hard,tasks=3": (3, 5),
}
"""Of the tasks of ``id`` and ``id_val``, those that are training tasks; none in all other variants."""


@pytest.mark.parametrize("spec", VARIANTS)
def test_held_out_streams_have_these_training_tasks_and_no_others(spec: str) -> None:
    family = make_family(spec)
    for split in ("id_val", "id"):
        found = are_training_tasks(family, split, torch.arange(family.support(split) or 50))
        if spec in OVERLAPS:
            assert (int(found.sum()), len(found)) == OVERLAPS[spec]
            assert count_training_tasks(family, split) == OVERLAPS[spec][0]
        else:
            assert found is None or not found.any()


@pytest.mark.parametrize("spec", [*OVERLAPS, "sparse_point", "darkroom:train=inner"])
def test_shifts_of_length_alone_keep_the_tasks_of_id(spec: str) -> None:
    family = make_family(spec)
    kept = {s for s in family.splits if s.startswith("shift") and count_training_tasks(family, s)}
    axes = {axis for axis in ("context_length", "horizon") if axis in family.axes}
    expected = (
        {f"shift/{axis}/{level}" for axis in axes for level in range(1, 5)}
        if spec in OVERLAPS
        else set()
    )
    assert kept & {f"shift/{axis}/{level}" for axis in axes for level in range(1, 5)} == expected
    assert not {
        s
        for s in kept
        if s.split("/")[1] in ("slip", "reward_scale", "goal_shell", "wind", "arc", "ring")
    }


def test_all_training_tasks_are_known_and_a_continuum_says_nothing() -> None:
    assert are_training_tasks(make_family("darkroom:tasks=8"), "train", torch.arange(20)).all()
    assert are_training_tasks(make_family("bandit"), "id", torch.arange(4)) is None


def test_a_task_that_is_not_negated_is_the_task_without_the_shift() -> None:
    """Told from the parameters themselves: the goal is one of the first eight, and the factor is 1."""
    family, split, numbers = (
        make_family("gridnavi:tasks=8"),
        "shift/reward_sign/2",
        torch.arange(200),
    )
    params = family.sample(split, numbers).params
    first = family.sample("train", torch.arange(8)).params["goal"]
    expected = (params["goal"][:, None] == first).all(-1).any(1) & (params["factor"] == 1)
    assert 0 < expected.sum() < 100
    np.testing.assert_array_equal(are_training_tasks(family, split, numbers), expected.numpy())


def test_keys_are_equal_only_where_all_parameters_are() -> None:
    family = make_family("gridnavi")
    plain, slippery = (family.sample(split, torch.arange(42)) for split in ("id", "shift/slip/1"))
    assert task_keys(plain)[:21] == task_keys(plain)[21:]
    assert len(set(task_keys(plain))) == 21
    assert not set(task_keys(plain)) & set(task_keys(slippery))


# --- in rows and tables -----------------------------------------------------------------------------------------------


def rows(family: TaskFamily, split: str, trials: int, **plan) -> pa.Table:
    agent = Random(family)
    played = evaluate(agent, family, Plan(split=split, trials=trials, **plan))
    return result_rows.table(played, family, agent.card)


def test_rows_say_which_tasks_are_training_tasks() -> None:
    """The first eight goals of the list train."""
    family = make_family("gridnavi:tasks=8,episodes=1")
    found = rows(family, "id", 84, left_out=(0, 20)).to_pylist()
    assert {(row["task_id"], row["train_task_share"]) for row in found} == {
        (n, float(n < 8)) for n in range(1, 20)
    }


def test_rows_of_many_tasks_say_the_share_of_their_trials() -> None:
    family, split = make_family("gridnavi:tasks=8,episodes=1"), "shift/reward_sign/2"
    table = rows(family, split, 640)
    n, share = (table[name].to_numpy() for name in ("episode_return_n", "train_task_share"))
    known = are_training_tasks(family, split, torch.arange(640))
    assert known is not None
    assert len(table) == 128  # 64 blocks in two halves
    assert (n * share).sum() == pytest.approx(known.sum())
    first = known[:10:2].mean()  # block 0 has trials 0 to 9, its part 0 the even ones
    assert share[0] == pytest.approx(first)


def test_rows_are_silent_where_training_tasks_are_a_continuum() -> None:
    table = rows(make_family("bandit:k=3,n=4"), "id", 50)
    assert table["train_task_share"].null_count == len(table)


@pytest.fixture
def mixed(tmp_path):
    family = make_family("gridnavi:tasks=8,episodes=1")
    results.open_folder(tmp_path)
    for split in ("train", "id", "shift/slip/4", "shift/reward_sign/1"):
        table = rows(family, split, 420)
        parquet.write(results.cell_path(tmp_path, table), table)
    return tmp_path, family


def test_tables_say_how_many_tasks_are_training_tasks_and_results_are_split_by_it(mixed) -> None:
    folder, family = mixed
    read = Results(folder)
    assert tables.title(read, family.id, "id").endswith("8 of 21 tasks are training tasks")
    assert "% of the trials play training tasks" in tables.title(
        read, family.id, "shift/reward_sign/1"
    )
    for split in ("train", "shift/slip/4"):
        assert "training" not in tables.title(read, family.id, split)
    table = rows(family, "id", 420)
    task, n, total = (
        table[name].to_numpy() for name in ("task_id", "episode_return_n", "episode_return_sum")
    )
    lines = {line.metric: line.interval for line in read.lines_of(Key(family.id, "id", "random"))}
    for name, numbers in (("train", range(8)), ("new", range(8, 21))):
        some = np.isin(task, numbers)
        assert lines[f"episode_return_{name}_tasks"].mean == pytest.approx(
            total[some].sum() / n[some].sum()
        )
        assert lines[f"episode_return_{name}_tasks"].n == 20 * len(numbers)
    assert not [
        m
        for m in (x.metric for x in read.lines_of(Key(family.id, "shift/slip/4", "random")))
        if "tasks" in m
    ]


@pytest.mark.parametrize("axis", ["changes", "obs_noise", "obs_permutation", "reward_delay"])
def test_what_is_observed_and_what_comes_later_make_no_other_task(axis):
    """Every goal of gridnavi is one of training, and the first task of a trial counts."""
    shared = are_training_tasks(make_family("gridnavi"), f"shift/{axis}/4", torch.arange(21))
    assert shared is not None
    assert shared.all()
