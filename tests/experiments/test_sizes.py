"""The sizes name what exists, count what every family plays, and give methods budgets of about equal time."""

from pathlib import Path

import pytest

from bridge.tasks import family as make_family
from bridge.training.budget import Budget
from experiments import agents, compare
from experiments.registry import LEARNERS
from experiments.sizes import SIZES


def grid_of(size):
    return compare.Grid(
        families=compare.distinct(size.families),
        methods=size.methods,
        splits=size.splits,
        trials=size.trials_of,
        budget=lambda method, family: Budget(float(size.steps(family, method))),
        seeds=size.seeds,
        configurations=1,
        out=Path("nowhere"),
        memory=10**9,
        tracks=size.tracks,
    )


@pytest.mark.parametrize("name", SIZES)
def test_a_size_names_what_exists_and_counts_what_every_family_plays(name):
    size = SIZES[name]
    families = tuple(make_family(spec) for spec in size.families)
    assert [family.id for family in families] == list(size.families)
    for method in size.methods:
        assert any(agents.plays(method, family) for family in families)
    names = {family.name for family in families}
    assert names == set(size.trials)
    assert set(size.trained_on or names) <= set(size.budget) & names
    grid = grid_of(size)
    for pattern in size.splits:
        assert any(grid._matches(family, (pattern,)) for family in families)


def test_quick_plays_every_learned_kind_of_both_tracks_on_three_axes_of_each_family():
    size = SIZES["quick"]
    played = " ".join(size.methods)
    kinds = {
        name
        for name, method in LEARNERS.items()
        if not (method.base or method.reads_text or method.of_test_tasks)
    } - {"mtrl_sac", "mtrl_sequence"}
    assert not [name for name in kinds if f"zoo:{name}" not in played]
    for family in map(make_family, size.families):
        splits = grid_of(size)._names[family.id]
        assert len({family.split(name).axis for name in splits} - {None}) >= 3


@pytest.mark.parametrize("name", ["small", "full"])
def test_every_kind_of_learner_takes_part(name):
    assert {"maml", "pearl", "rl2", "mtrl_finetune"} <= set(SIZES[name].methods)


def test_methods_that_take_longer_a_step_are_given_fewer():
    size = SIZES["quick"]
    steps = {
        name: size.steps("gridnavi", name)
        for name, method in LEARNERS.items()
        if not method.reads_text
    }
    assert {m for m, n in steps.items() if n == 40_000} == {"mtrl_sac", "pearl"}
    assert {m for m, n in steps.items() if n == 200_000} == {"icl_ad", "icl_dpt", "icl_rl"}
    assert set(steps.values()) == {40_000, 200_000, 1_000_000}
    assert size.steps("gridnavi", "pearl:latent=3") == 40_000


def test_a_family_without_a_budget_is_given_the_smallest():
    assert SIZES["quick"].steps("mine", "rl2") == 200_000
