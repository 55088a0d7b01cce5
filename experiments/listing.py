"""What there is, as plain objects with a ``name``: the answers of ``metabridge list``."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from bridge import config
from bridge.tasks import FAMILIES
from bridge.tasks import family as make_family
from bridge.tasks.base import CONTEXT_AXES, TaskFamily
from bridge.tasks.overlap import count_training_tasks
from experiments import methods
from experiments.in_trial import WAYS
from experiments.sizes import SIZES
from experiments.training import LEARNERS

Entry = dict[str, Any]


def entries(what: str, families: tuple[str, ...]) -> list[Entry]:
    """The objects of one kind; splits and axes of ``families``, or of every family at its defaults."""
    made = [make_family(spec) for spec in families or tuple(FAMILIES)]
    if what == "families":
        return [_family(family) for family in made]
    if what == "methods":
        return (
            [_method(name, made) for name in methods.REFERENCES]
            + [_learner(name, made) for name in LEARNERS]
            + [_tuned(name, made) for name in WAYS]
        )
    if what == "splits":
        return [entry for family in made for entry in _splits(family)]
    if what == "axes":
        return [entry for family in made for entry in _axes(family)]
    return [
        {"name": f"compare --size {name}", "families": size.families, "methods": size.methods, "splits": size.splits}
        for name, size in SIZES.items()
    ]


def _family(family: TaskFamily) -> Entry:
    trial = family.trial("id")
    return {
        "name": family.name,
        "id": family.id,
        "hash": family.hash,
        "summary": _first_sentence(inspect.getmodule(family)),
        "keys": {f.name: getattr(family, f.name) for f in dataclasses.fields(family)},
        "episodes": trial.episodes,
        "horizon": trial.horizon,
        "axes": sorted(family.axes),
    }


def _method(name: str, families: list[TaskFamily]) -> Entry:
    makes = list(dict.fromkeys(methods.REFERENCES[name].values()))
    keys = {p.name: p.default for make in makes for p in list(inspect.signature(make).parameters.values())[2:]}
    return {
        "name": name,
        "kind": "reference",
        "families": [family.name for family in families if methods.applies(name, family)],
        "keys": keys,
        "summary": _first_sentence(makes[0]),
    }


def _learner(name: str, families: list[TaskFamily]) -> Entry:
    learned = LEARNERS[name]
    return {
        "name": name,
        "kind": "learned",
        "families": [family.name for family in families],
        "keys": {field.name: field.default for field in dataclasses.fields(learned.config)},
        "summary": _first_sentence(inspect.getmodule(getattr(learned.learner, "func", learned.learner))),
    }


def _tuned(name: str, families: list[TaskFamily]) -> Entry:
    settings = WAYS[name].config
    return {
        "name": name,
        "kind": "tuned",
        "families": [family.name for family in families],
        "keys": {field.name: field.default for field in dataclasses.fields(settings)},
        "summary": f"A trained run (run=RUN) with gradient steps at test, by {WAYS[name].signal}: "
        f"{_first_sentence(settings).lower()}",
    }


def _splits(family: TaskFamily) -> list[Entry]:
    found = [(family.split(name), family.trial(name)) for name in family.splits]
    return [
        {"name": s.name, "family": family.id, "axis": s.axis, "level": s.level, "value": s.value if s.axis else None,
         "tasks": family.support(s.name), "training_tasks": count_training_tasks(family, s.name),
         "episodes": trial.episodes, "horizon": trial.horizon}
        for s, trial in found
    ]  # fmt: skip


def _axes(family: TaskFamily) -> list[Entry]:
    return [
        {
            "name": name,
            "family": family.id,
            "unit": axis.unit,
            "values": axis.values,
            "predicted to break first": axis.predicts,
        }
        for name, axis in {**family.axes, **CONTEXT_AXES}.items()
    ]


def _first_sentence(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0].rstrip(".")


def show(found: list[Entry]) -> None:
    """The same as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    columns = [
        key for key in (found[0] if found else {}) if key not in ("hash", "name" if found and "id" in found[0] else "")
    ]
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "id"))
    for entry in found:
        table.add_row(*(_text(entry[column]) for column in columns))
    Console().print(table, highlight=False)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return config.joined(value).replace(",", ", ")
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
