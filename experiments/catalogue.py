"""The catalogue of families, methods, splits and axes, computed from the code: plain objects with a ``name``.

    python -m experiments.catalogue

writes the objects of every family at its defaults, and the details of all names, to ``catalogue.json``, which
``metabridge list`` and ``describe`` print without an import of torch. A test keeps the file equal to the code.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

from bridge import files
from bridge.references.registry import KNOW_TRAINING_TASKS, REFERENCES
from bridge.tasks import FAMILIES
from bridge.tasks import family as make_family
from bridge.tasks.base import CONTEXT_AXES, TaskFamily
from bridge.tasks.overlap import count_training_tasks
from experiments import details
from experiments.listing import AT_TEST, Entry
from experiments.registry import LEARNERS, PRETRAINED, TEST_TIME_METHODS, Method

KINDS = ("families", "methods", "splits", "axes")
FILE = Path(__file__).with_name("catalogue.json")


def entries(what: str, families: tuple[str, ...] = ()) -> list[Entry]:
    """The objects of one of ``KINDS``, of ``families`` or of every family at its defaults."""
    made = [make_family(spec) for spec in families or tuple(FAMILIES)]
    if what == "families":
        return [_family(family) for family in made]
    if what == "methods":
        return (
            [_method(name, made) for name in REFERENCES]
            + [_learner(name, made) for name in LEARNERS]
            + [_tuned(name, made) for name in TEST_TIME_METHODS]
            + [_pretrained(name, made) for name in PRETRAINED]
        )
    return [
        entry
        for family in made
        for entry in (_splits(family) if what == "splits" else _axes(family))
    ]


def added(what: str) -> list[Entry]:
    """Return the objects that entry points of other packages add."""
    ours = json.loads(FILE.read_text(encoding="utf-8"))[what]
    return [entry for entry in entries(what) if entry not in ours]


def all_details() -> dict[str, dict[str, details.Details]]:
    """The details of every family at its defaults, by its id, and of every method, by its name."""
    families = [make_family(spec).id for spec in FAMILIES]
    methods = (*REFERENCES, *LEARNERS, *TEST_TIME_METHODS, *PRETRAINED)
    return {
        what: {name: details_of(what, name) for name in names}
        for what, names in (("families", families), ("methods", methods))
    }


def details_of(what: str, name: str) -> details.Details:
    """The details of a family, which may have parameters, or of a method.

    Raises:
        UserError: an unknown family.
    """
    if what == "families":
        return details.of_family(make_family(name))
    return details.of_method(name, [make_family(spec) for spec in FAMILIES])


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
    makes = list(dict.fromkeys(REFERENCES[name].values()))
    keys = {
        p.name: p.default
        for make in makes
        for p in list(inspect.signature(make).parameters.values())[2:]
    }
    return {
        "name": name,
        "kind": "reference",
        "families": [family.name for family in details.playable(name, families)],
        "keys": keys,
        "summary": _first_sentence(makes[0]),
        "fixed_tasks": name in KNOW_TRAINING_TASKS,
    }


def _learner(name: str, families: list[TaskFamily]) -> Entry:
    learned = LEARNERS[name]
    return {
        "name": name,
        "kind": "learned",
        "families": [family.name for family in families if _reads(learned, family)],
        "keys": {field.name: field.default for field in dataclasses.fields(learned.config)},
        "summary": _sentence(learned.about),
    }


def _tuned(name: str, families: list[TaskFamily]) -> Entry:
    settings = TEST_TIME_METHODS[name].config
    return {
        "name": name,
        "kind": "tuned",
        "families": [family.name for family in families],
        "keys": {field.name: field.default for field in dataclasses.fields(settings)},
        "summary": f"{AT_TEST}, by {TEST_TIME_METHODS[name].signal}: {_first_sentence(settings).lower()}",
    }


def _pretrained(name: str, families: list[TaskFamily]) -> Entry:
    method = PRETRAINED[name]
    return {
        "name": name,
        "kind": "pretrained",
        "families": [family.name for family in families if family.describe() is not None],
        "keys": {field.name: field.default for field in dataclasses.fields(method.config)},
        "summary": _first_sentence(method.config),
    }


def _reads(method: Method, family: TaskFamily) -> bool:
    """False if a method reads text and the family has no description."""
    return not method.reads_text or family.describe() is not None


def _splits(family: TaskFamily) -> list[Entry]:
    found = [(family.split(name), family.trial(name)) for name in family.splits]
    return [
        {
            "name": split.name,
            "family": family.id,
            "axis": split.axis,
            "level": split.level,
            "value": split.value if split.axis else None,
            "tasks": family.support(split.name),
            "training_tasks": count_training_tasks(family, split.name),
            "episodes": trial.episodes,
            "horizon": trial.horizon,
        }
        for split, trial in found
    ]


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
    return _sentence(inspect.getdoc(thing) or "")


def _sentence(text: str) -> str:
    return text.split("\n")[0].rstrip(".")


def main() -> None:
    """Write the catalogue."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    listed = {what: entries(what) for what in KINDS}
    content = listed | {"details": all_details()}
    files.write_text(FILE, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
