"""The rules for a family's names, splits and tasks, one function each."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import torch

from bridge import config
from bridge import memory as tree
from bridge.conformance.compare import first_difference
from bridge.conformance.random_steps import ROWS, SUBSETS, demand_same, tasks_of, walk
from bridge.conformance.rules import demand, rule
from bridge.errors import UserError
from bridge.tasks.base import STREAMS, TaskFamily

_MANY = 512
"""Tasks of a continuum that are looked through for a training task."""
_APART = 0.75
"""Of as many held-out tasks of a continuum and training tasks: what lies apart has above 95%, measured."""
_SOME = 64
"""Tasks that are looked at for what a level moves."""
_HELD_OUT_AXES = ("goal_shell", "hole", "ring")


@rule
def splits_are_named(family: TaskFamily) -> None:
    """The splits train, id_val and id exist, every split answers to its name, and no level has the trained value."""
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
    """Every level of an axis moves something that play depends on: the trial, or a parameter of its tasks that the
    simulator reads. No two levels are alike, and none is like id."""
    for name in family.axes:
        splits = ("id", *(f"shift/{name}/{level}" for level in range(1, 5)))
        read = set().union(*(_read(family, split) for split in splits))
        params = {split: family.sample(split, torch.arange(_SOME)).params for split in splits}
        for one, other in combinations(splits, 2):
            ours, theirs = params[one], params[other]
            moved = {
                key
                for key in ours.keys() | theirs.keys()
                if not _equal(ours.get(key), theirs.get(key))
            }
            demand(
                family.trial(one) != family.trial(other) or bool(moved & read),
                expected=f"{other} to differ from {one} in its trial or in one of {', '.join(sorted(read))}, which "
                "reset and step read",
                found=f"a difference in {', '.join(sorted(moved)) or 'nothing'}",
                remedy="Put TaskFamily.value(split, axis, ...) into a parameter in _sample, and read it where it acts.",
            )


def _read(family: TaskFamily, split: str) -> set[str]:
    """The names of the parameters that are read while some tasks are played."""
    tasks, noise = tasks_of(family, split)
    params = _Watched(tasks.params)
    tasks = tasks._replace(params=params)
    for moment in walk(family, split, tasks, noise):
        family.expected_reward(tasks, moment.step())
    return params.read


class _Watched(dict[str, torch.Tensor]):
    """Parameters that note which of them are read."""

    def __init__(self, params: dict[str, torch.Tensor]) -> None:
        super().__init__(params)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> torch.Tensor:
        self.read.add(name)
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        return (
            super().__iter__()
        )  # without it ``dict(params)`` and ``**params`` copy without a read that is noted

    def get(self, key: Any, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def values(self) -> Any:
        return [self[name] for name in self]

    def items(self) -> Any:
        return [(name, self[name]) for name in self]


def _equal(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)


@rule
def id_spells_the_family(family: TaskFamily) -> None:
    """The canonical name builds the same family again."""
    name, values = config.split_spec(family.id)
    again = config.build(type(family), family.id, values)
    demand(
        name == family.name and again == family,
        expected=repr(family),
        found=f"{name}: {again!r}",
        remedy="Let every parameter be a field of the dataclass.",
    )


@rule
def hash_tells_tasks_apart(family: TaskFamily) -> None:
    """Equal families have the same hash, and another value of any field has another one."""
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
            expected=f"{other.id} to have a hash of its own",
            found=other.hash,
            remedy="Leave hash to TaskFamily; what else defines the tasks goes into signature.",
        )


def _variants(family: TaskFamily) -> Iterator[TaskFamily]:
    """The family with one field changed, for every other value that it accepts."""
    hints = typing.get_type_hints(type(family))
    for field in dataclasses.fields(family):
        value, hint = getattr(family, field.name), hints[field.name]
        if typing.get_origin(hint) is typing.Literal:
            others = [choice for choice in typing.get_args(hint) if choice != value]
        elif isinstance(value, (bool, int, float)):
            others = [not value if isinstance(value, bool) else value + 1]
        else:
            others = []
        for other in others:
            try:
                yield dataclasses.replace(family, **{field.name: other})
            except UserError:
                continue


@rule
def tasks_depend_on_index_alone(family: TaskFamily) -> None:
    """Task i of a split is the same in any batch and order, and whenever it is asked for."""
    remedy = "Draw from the noise that _sample is given, one row a task."
    for split in family.splits:
        whole = family.sample(split, torch.arange(ROWS))
        for index in SUBSETS:
            rows = torch.tensor(index)
            demand_same(
                family.sample(split, rows),
                tree.select(whole, rows),
                f"tasks {index} of {split}",
                remedy,
            )


@rule
def streams_differ(family: TaskFamily) -> None:
    """Where tasks come from a continuum, train, id_val and id draw different ones."""
    for one, other in combinations(STREAMS, 2):
        if family.support(one) is None and family.support(other) is None:
            ours, theirs = (
                family.sample(split, torch.arange(ROWS)).params for split in (one, other)
            )
            demand(
                first_difference(ours, theirs) is not None,
                expected=f"tasks of {other} that are not those of {one}",
                found="the same",
                remedy="Draw from the noise that _sample is given: it is named by the stream.",
            )


@rule
def held_out_tasks_are_new(family: TaskFamily) -> None:
    """Finite streams share all their tasks or none, and goal_shell, hole and ring lie apart from training tasks."""
    if all(family.support(split, whole=True) is not None for split in STREAMS):
        for one, other in combinations(STREAMS, 2):
            a, b = _told_apart(family, one, other)
            demand(
                a == b or not a & b,
                expected=f"{one} and {other} with all tasks in common or none",
                found=f"{len(a & b)} of {len(a)} and {len(b)}",
                remedy="Cut one list of tasks into the streams.",
            )
    for axis in family.axes.keys() & set(_HELD_OUT_AXES):
        for split in (f"shift/{axis}/{level}" for level in range(1, 5)):
            a, b = _told_apart(family, "train", split)
            expected, remedy = f"no training task in {split}", "Build the supports disjoint."
            demand(not a & b, expected=expected, found=sorted(a & b), remedy=remedy)
            if family.support(split) is None:
                among = _among_its_own(a, b)
                expected = f"tasks of {split} beside one another: above {_APART:.0%}"
                demand(
                    among > _APART,
                    expected=expected,
                    found=f"{among:.0%} of {len(b)}",
                    remedy=remedy,
                )


def _among_its_own(train: set[tuple], held_out: set[tuple]) -> float:
    """The share of held-out tasks that lie nearer to another of them than to any training task.

    Half, where both are drawn alike; all but those at the border, where they lie apart.
    """
    theirs, ours = (torch.tensor(sorted(tasks), dtype=torch.float64) for tasks in (train, held_out))
    own = torch.cdist(ours, ours).fill_diagonal_(torch.inf)
    return float((own.amin(1) < torch.cdist(ours, theirs).amin(1)).double().mean())


def _told_apart(family: TaskFamily, one: str, other: str) -> tuple[set[tuple], set[tuple]]:
    """The distinct tasks of two splits, told apart by the parameters that both have; ``tasks=N`` set aside."""
    family = dataclasses.replace(family, tasks=0)
    ours, theirs = (
        family.sample(s, torch.arange(family.support(s, whole=True) or _MANY)).params
        for s in (one, other)
    )
    shared = ours.keys() & theirs.keys()
    return _distinct({k: ours[k] for k in shared}), _distinct({k: theirs[k] for k in shared})


def _distinct(params: dict[str, torch.Tensor]) -> set[tuple]:
    columns = [value.reshape(len(value), -1).double() for _, value in sorted(params.items())]
    return {tuple(row) for row in torch.cat(columns, -1).tolist()}


@rule
def fixed_tasks_are_distinct(family: TaskFamily) -> None:
    """``tasks=N`` trains on exactly N distinct tasks, which come round and round, and leaves the other splits alone."""
    n = min(3, family.support("train", whole=True) or 3)
    fixed = dataclasses.replace(family, tasks=n)
    once, again = (fixed.sample("train", torch.arange(first, first + n)).params for first in (0, n))
    remedy = "Name a finite support in _support, and leave the counting to TaskFamily."
    found = (len(_distinct(once)), fixed.support("train"))
    demand(
        found == (n, n),
        expected=f"{n} distinct tasks",
        found=f"{found[0]}, support {found[1]}",
        remedy=remedy,
    )
    demand_same(again, once, "the first tasks again after the last", remedy)
    ids = torch.arange(ROWS)
    demand_same(
        fixed.sample("id", ids),
        family.sample("id", ids),
        "the tasks of id",
        "Let train alone have N tasks.",
    )


@rule
def level_zero_is_id(family: TaskFamily) -> None:
    """Level 0 of every axis is the split id, bit for bit: the same trial, tasks and steps."""
    remedy = "Leave params and draws alone at level 0 (TaskFamily.value does)."
    tasks, noise = tasks_of(family, "id")
    for zero in (f"shift/{axis}/0" for axis in family.axes):
        ours = family.sample(zero, torch.arange(ROWS))
        demand_same(ours, tasks, f"the tasks of {zero}", remedy)
        found, trial = family.trial(zero), family.trial("id")
        demand(found == trial, expected=f"{trial} on {zero}", found=found, remedy=remedy)
        for a, b in zip(
            walk(family, zero, ours, noise), walk(family, "id", tasks, noise), strict=True
        ):
            demand_same(a.outcome, b.outcome, f"the steps of {zero}", remedy, step=a.t)
