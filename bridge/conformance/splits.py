"""The rules for a family's names, splits and tasks, one function each."""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections import UserDict
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

import torch

from bridge import config
from bridge import memory as tree
from bridge.conformance.compare import first_difference
from bridge.conformance.random_steps import ROWS, SUBSETS, noise_of, walk
from bridge.conformance.rules import demand, demand_same, rule
from bridge.errors import UserError
from bridge.tasks.base import STREAMS, TaskFamily
from bridge.tasks.perception import Senses

_MANY = 512
"""Tasks of a continuum that are compared with training tasks."""
_APART = 0.75
"""Least share of held-out tasks nearest to another held-out task; disjoint supports have above 95%, measured."""
_SOME = 64
"""Tasks that are compared between levels."""
_HELD_OUT_AXES = ("goal_shell", "hole", "ring")


@rule
def splits_are_named(family: TaskFamily) -> None:
    """The splits train, id_val and id exist, every split has its own name, and no level has the trained value."""
    demand(
        set(STREAMS) <= set(family.splits) and len(set(family.splits)) == len(family.splits),
        expected=f"{STREAMS} and no name twice",
        found=family.splits,
        remedy="Leave splits to TaskFamily; name shifts through axes.",
    )
    for name in family.splits:
        found = family.split(name).name
        demand(
            found == name,
            expected=f"a split called {name!r}",
            found=found,
            remedy="Leave split() to TaskFamily.",
        )
    for name, axis in family.axes.items():
        demand(
            axis.values[0] not in axis.values[1:],
            expected=f"levels of {name} beside the trained value",
            found=axis.values,
            remedy="Level 0 is the trained one; move the others.",
        )


@rule
def levels_move(family: TaskFamily) -> None:
    """Every level of an axis changes something that play depends on: the trial, or a parameter of its tasks that the
    simulator reads. No two levels are the same, and none is the same as id."""
    for name in family.axes:
        splits = ("id", *_levels(name))
        read = set().union(*(_read(family, split) for split in splits))
        params = {split: family.sample(split, torch.arange(_SOME)).params for split in splits}
        for one, other in combinations(splits, 2):
            ours, theirs = params[one], params[other]
            moved = ours.keys() ^ theirs.keys()
            moved |= {key for key in ours.keys() & theirs if not ours[key].equal(theirs[key])}
            demand(
                family.trial(one) != family.trial(other) or bool(moved & read),
                expected=f"{other} to differ from {one} in its trial or in one of {', '.join(sorted(read))}, which "
                "reset and step read",
                found=f"a difference in {', '.join(sorted(moved)) or 'nothing'}",
                remedy="Put TaskFamily.value(split, axis, ...) into a parameter in _sample, and read it where it acts.",
            )


def _levels(axis: str) -> list[str]:
    """The shifted splits of an axis."""
    return [f"shift/{axis}/{level}" for level in range(1, 5)]


def _read(family: TaskFamily, split: str) -> set[str]:
    """The names of the parameters that are read while some tasks are played."""
    tasks = family.sample(split, torch.arange(ROWS))
    params: Any = _RecordingParameters(tasks.params)
    tasks = family.task_of(tasks._replace(params=params), 1)
    senses = Senses.of(family, tasks, noise_of(tasks.index))
    for moment in walk(family, split, tasks._replace(params=params)):
        family.expected_reward(moment.tasks, moment.step())
        if senses:
            senses.first(moment.obs)
    return params.read


class _RecordingParameters(UserDict[str, torch.Tensor]):
    """Parameters that record the names of those that are read; every access goes through ``__getitem__``."""

    def __init__(self, params: dict[str, torch.Tensor]) -> None:
        super().__init__(params)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> torch.Tensor:
        self.read.add(key)
        return super().__getitem__(key)


@rule
def id_spells_the_family(family: TaskFamily) -> None:
    """The canonical name builds the same family again."""
    name, values = config.split_spec(family.id, family.place)
    again = config.build(type(family), family.id, values)
    demand(
        name == (family.place or family.name) and again == family,
        expected=repr(family),
        found=f"{name}: {again!r}",
        remedy="Let every parameter be a field of the dataclass.",
    )


@rule
def hash_distinguishes_tasks(family: TaskFamily) -> None:
    """Equal families have the same hash, and another value of any field but ``tests`` changes it."""
    again = dataclasses.replace(family).hash
    demand(
        again == family.hash,
        expected=family.hash,
        found=again,
        remedy="Hash values, not objects: see signature.",
    )
    for other in _variants(family):
        demand(
            other.hash != family.hash,
            expected=f"{other.id} to have its own hash",
            found=other.hash,
            remedy="Leave hash to TaskFamily; put all else that defines the tasks into signature.",
        )


def _variants(family: TaskFamily) -> Iterator[TaskFamily]:
    """The family with one field changed, for every other value that it accepts."""
    hints = typing.get_type_hints(type(family))
    for field in dataclasses.fields(family):
        if field.name == "tests":
            continue
        value, others = getattr(family, field.name), typing.get_args(hints[field.name])
        if isinstance(value, bool):
            others = (not value,)
        elif isinstance(value, (int, float)):
            others = (value + 1,)
        for other in others:
            if other != value:
                with contextlib.suppress(UserError):
                    yield dataclasses.replace(family, **{field.name: other})


@rule
def tasks_depend_on_index_alone(family: TaskFamily) -> None:
    """Task i of a split is the same in any batch, in any order and at any time."""
    remedy = "Draw from the noise that _sample is given, one row a task."
    for split in family.splits:
        whole = family.sample(split, torch.arange(ROWS))
        for index in SUBSETS:
            rows = torch.tensor(index)
            found, expected = family.sample(split, rows), tree.select(whole, rows)
            demand_same(found, expected, f"tasks {index} of {split}", remedy)


@rule
def streams_differ(family: TaskFamily) -> None:
    """If tasks come from a continuum, train, id_val and id draw different ones."""
    for one, other in combinations(STREAMS, 2):
        if family.support(one) is None and family.support(other) is None:
            rows = torch.arange(ROWS)
            ours, theirs = (family.sample(split, rows).params for split in (one, other))
            demand(
                first_difference(ours, theirs) is not None,
                expected=f"tasks of {other} that are not those of {one}",
                found="the same",
                remedy="Draw from the noise that _sample is given: it is named by the stream.",
            )


@rule
def held_out_tasks_are_new(family: TaskFamily) -> None:
    """Finite streams share all their tasks or none, and goal_shell, hole and ring have no training tasks."""
    if all(family.support(split, whole=True) is not None for split in STREAMS):
        for one, other in combinations(STREAMS, 2):
            a, b = _distinct_tasks(family, one, other)
            demand(
                a == b or not a & b,
                expected=f"{one} and {other} with all tasks in common or none",
                found=f"{len(a & b)} of {len(a)} and {len(b)}",
                remedy="Cut one list of tasks into the streams.",
            )
    remedy = "Build the supports disjoint."
    for axis in family.axes.keys() & set(_HELD_OUT_AXES):
        for split in _levels(axis):
            a, b = _distinct_tasks(family, "train", split)
            expected = f"no training task in {split}"
            demand(not a & b, expected=expected, found=sorted(a & b), remedy=remedy)
            if family.support(split) is None:
                share = _nearest_to_their_own(a, b)
                demand(
                    share > _APART,
                    expected=f"over {_APART:.0%} of the tasks of {split} nearest to another one of them",
                    found=f"{share:.0%} of {len(b)}",
                    remedy=remedy,
                )


def _nearest_to_their_own(train: set[tuple], held_out: set[tuple]) -> float:
    """The share of held-out tasks that are nearer to another of them than to any training task.

    Half, if both have the same distribution; all but those near the border, if supports are disjoint.
    """
    theirs, ours = (torch.tensor(sorted(tasks), dtype=torch.float64) for tasks in (train, held_out))
    own = torch.cdist(ours, ours).fill_diagonal_(torch.inf)
    return float((own.amin(1) < torch.cdist(ours, theirs).amin(1)).double().mean())


def _distinct_tasks(family: TaskFamily, *splits: str) -> list[set[tuple]]:
    """The distinct tasks of some splits, by the parameters that all of these have; without ``tasks=N``."""
    family = dataclasses.replace(family, tasks=0)
    params = []
    for split in splits:
        tasks = torch.arange(family.support(split, whole=True) or _MANY)
        params.append(family.sample(split, tasks).params)
    shared = set.intersection(*map(set, params))
    return [_distinct(each, shared) for each in params]


def _distinct(params: dict[str, torch.Tensor], names: Iterable[str]) -> set[tuple]:
    columns = [params[name].reshape(len(params[name]), -1).double() for name in sorted(names)]
    return {tuple(row) for row in torch.cat(columns, -1).tolist()}


@rule
def fixed_tasks_are_distinct(family: TaskFamily) -> None:
    """``tasks=N`` trains on exactly N distinct tasks, which repeat in order, and does not change the other splits."""
    n = min(3, family.support("train", whole=True) or 3)
    fixed = dataclasses.replace(family, tasks=n)
    once, again = (fixed.sample("train", torch.arange(first, first + n)).params for first in (0, n))
    remedy = "Name a finite support in _support, and leave the counting to TaskFamily."
    distinct, support = len(_distinct(once, once)), fixed.support("train")
    demand(
        distinct == support == n,
        expected=f"{n} distinct tasks",
        found=f"{distinct}, support {support}",
        remedy=remedy,
    )
    demand_same(again, once, "the first tasks again after the last", remedy)
    found, expected = (made.sample("id", torch.arange(ROWS)) for made in (fixed, family))
    demand_same(found, expected, "the tasks of id", "Let train alone have N tasks.")


@rule
def level_zero_is_id(family: TaskFamily) -> None:
    """Level 0 of every axis is the split id, bit for bit: the same trial, tasks and steps."""
    remedy = "Leave params and draws alone at level 0 (TaskFamily.value does)."
    trial = family.trial("id")
    for zero in (f"shift/{axis}/0" for axis in family.axes):
        found = family.trial(zero)
        demand(found == trial, expected=f"{trial} on {zero}", found=found, remedy=remedy)
        for ours, theirs in zip(walk(family, zero), walk(family, "id"), strict=True):
            demand_same(ours.tasks, theirs.tasks, f"the tasks of {zero}", remedy)
            demand_same(ours.outcome, theirs.outcome, f"the steps of {zero}", remedy, step=ours.t)
