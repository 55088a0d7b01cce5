"""All that is known of one name: a family, a method, an axis, a size of ``compare`` or a trained run that ships.

A description is an object in the order of reading: prose, facts, tables, then commands to try.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bridge import user_code
from bridge.errors import UserError, unknown
from experiments import listing, registry, zoo
from experiments.listing import Entry
from experiments.sizes import SIZES

Description = dict[str, Any]

_LEVELS = (
    "A split `shift/AXIS/LEVEL` has the tasks of `id`, moved along the axis. The first value is that of training "
    "(level 0), the others are levels 1 to 4."
)


def describe(name: str) -> Description:
    """Return the description of a name: ``rl2``, ``bandit:k=2``, ``slip``, ``gridnavi/slip``, ``quick``,
    ``zoo:icl_rl/gridnavi`` or a user's own ``path.py:Name``.

    Raises:
        UserError: nothing has this name (the nearest one is given), or the folder of a run has, a method or an agent is
            named with parameters, or a user's own code cannot be loaded.
    """
    if zoo.is_entry(name):
        return _run(name)
    if (Path(name) / "config.json").is_file():
        raise UserError(f"{name} is the folder of a run. Show it: metabridge show {name}")
    if user_code.target_of(name):
        return _own(name)
    if name in SIZES:
        return _size(name)
    methods = {entry["name"]: entry for entry in listing.entries("methods")}
    if (method := registry.name_of(name)) in methods:
        _refuse_parameters(name, method)
        return _method(methods[name])
    families = {entry["name"] for entry in listing.entries("families")}
    family, _, axis = name.rpartition("/")
    if family and registry.name_of(family) in families and not _is_environment(name):
        return _axis(listing.entries_of("axes", family), axis, f"axis of {family}:")
    if registry.name_of(name) in families:
        return _family(name)
    others = {entry["name"] for entry in zoo.listing()} | SIZES.keys() | methods.keys() | families
    return _axis(listing.entries("axes"), name, "name", others)


def _is_environment(name: str) -> bool:
    """True for the name of a Gymnasium environment, which may hold a slash."""
    return registry.name_of(name) == "gym"


_KINDS = {
    "reference": "reference",
    "learned": "learned method",
    "tuned": "gradient steps at test, on a trained run",
    "pretrained": "pretrained language model",
}


def _method(entry: Entry) -> Description:
    name, kind = entry["name"], entry["kind"]
    known = listing.details("methods", name)
    family = listing.entries_of("families", entry["families"][0])[0]["id"]
    if entry.get("fixed_tasks"):
        family += f"{',' if ':' in family else ':'}tasks=16"
    if kind == "learned":
        command = f"train {name} --family {family} --budget 1e6 --out runs/{name}"
    elif kind == "pretrained":
        model = "" if "smollm2" in name else ":model=FOLDER"
        command = f"evaluate {name}{model} --family bandit:k=5,n=20 --trials 20"
    elif kind == "reference":
        command = f"evaluate {name} --family {family}"
    else:
        shown = registry.TEST_TIME_METHODS[name].signal == "demos"
        command = f"evaluate {name}:run=zoo:icl_rl/bandit --trials 1000{' --track C' * shown}"
    return {
        "name": name,
        "kind": _KINDS[kind],
        "about": known["about"],
        "families": entry["families"],
        **_without("about", known),
        "try": [f"metabridge {command}"],
    }


def _family(spec: str) -> Description:
    (entry,) = listing.entries_of("families", spec)
    known = listing.details("families", entry["id"])
    tasks = {split["name"]: split["tasks"] for split in listing.entries_of("splits", spec)}
    splits = "id,shift" if entry["axes"] else "id"
    return {
        "name": entry["id"],
        "kind": "task family",
        "about": known["about"],
        "episodes": entry["episodes"],
        "horizon": entry["horizon"],
        "tasks": {name: tasks[name] or "endless" for name in ("train", "id_val", "id")},
        **_without("about", known),
        "axes": [_without("family", axis) for axis in listing.entries_of("axes", spec)],
        "try": [
            f"metabridge evaluate random --family {entry['id']} --splits {splits} --trials 1000",
            f"metabridge train rl2 --family {entry['id']} --budget 1e6 --out runs/rl2",
        ],
    }


def _refuse_parameters(name: str, alone: str) -> None:
    if alone != name:
        raise UserError(
            f"{name} has parameters; describe the method alone: metabridge describe {alone}"
        )


def _own(name: str) -> Description:
    """The description of a family or an agent of a user's own."""
    from bridge import tasks
    from experiments import details

    place = user_code.target_of(name)
    if tasks.is_family(place):
        return _family(name)
    _refuse_parameters(name, place)
    return {
        "name": place,
        "kind": "agent of your own",
        **details.of_own_agent(place),
        "try": [
            f"metabridge {verb} {place} --family bandit:k=5,n=10" for verb in ("check", "evaluate")
        ],
    }


def _axis(axes: list[Entry], name: str, kind: str, others: Collection[str] = ()) -> Description:
    """The description of the axis called ``name``.

    Raises:
        UserError: there is none among ``axes``; the nearest name of them and ``others`` is given.
    """
    found = [axis for axis in axes if axis["name"] == name]
    if not found:
        raise unknown(kind, name, {*others, *(axis["name"] for axis in axes)})
    family = found[0]["family"]
    track = " --track C" if name == "context_quality" else ""
    return {
        "name": name,
        "kind": "axis of shift",
        "about": _LEVELS,
        "families": [_without("name", axis) for axis in found],
        "try": [f"metabridge evaluate random --family {family} --splits id,shift/{name}{track}"],
    }


def _size(name: str) -> Description:
    return {
        "name": name,
        "kind": "size of compare",
        "about": f"What `metabridge compare --size {name}` plays. Trials are those of a split; seeds and budget (in "
        "environment steps) are those of training.",
        **asdict(SIZES[name]),
        "try": [f"metabridge compare --size {name} --out results/{name}"],
    }


def _run(name: str) -> Description:
    card = zoo.folder(name) / "README.md"
    return {
        "name": name,
        "kind": "trained run that ships",
        "card": card.read_text(encoding="utf-8") if card.exists() else "It has no model card.",
        "try": [
            f"metabridge show {name}",
            f"metabridge evaluate {name} --splits id,shift --trials 100",
        ],
    }


def _without(key: str, entry: Entry) -> Entry:
    return {name: value for name, value in entry.items() if name != key}
