"""``metabridge list``: a line for each name that can be typed; ``metabridge describe`` has the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

from bridge.config import split_list
from experiments import registry
from experiments.listing import AT_TEST, Entry, entries
from experiments.sizes import SIZES
from experiments.terminal import columns, console, print_line


@dataclass(frozen=True, kw_only=True)
class List:
    """List families, methods, splits, axes, experiments or trained runs (zoo), a line each.

    For example: metabridge list methods --family gridnavi
    """

    what: Positional[Literal["families", "methods", "splits", "axes", "experiments", "zoo"]] = (
        "families"
    )
    family: tuple[str, ...] = ()
    """Only for these families, your own too: path/to/maze.py:Maze (default: each with its own defaults)."""
    json: bool = False
    """Print a JSON array of objects, each with a name."""

    def run(self) -> int:
        """Print the list."""
        found = entries(self.what, split_list(self.family))
        if self.json:
            print(json.dumps(found, indent=1))
        else:
            show(self.what, found)
        return 0


def show(what: str, found: list[Entry]) -> None:
    """Print a line for each object below the heading of its group, cut to the width of a terminal."""
    heading_of, cells_of = _LAYOUTS[what]
    shown = [entry for entry in found if entry.get("families") != []]  # some methods play none
    lines = columns([cells_of(entry) for entry in shown])
    groups: dict[str, list[str]] = {}
    for entry, line in zip(shown, lines, strict=True):
        groups.setdefault(heading_of(entry), []).append(line)
    out = console()
    for heading in sorted(groups, key=_GROUPS.index) if what == "methods" else groups:
        print_line(out, heading, style="bold")
        for line in groups[heading]:
            print_line(out, f"  {line}")
    if out.is_terminal:
        name = "AXIS" if what in ("splits", "axes") else "NAME"
        print_line(out, f"More: metabridge describe {name}", style="dim")


_GROUPS = (
    "References",
    "Learned, classical",
    "Learned, transformers",
    "Pretrained language models",
    AT_TEST,
)
"""The groups of methods."""


def _group(method: Entry) -> str:
    if method["kind"] == "learned":
        return _GROUPS[1 + registry.LEARNERS[method["name"]].transformer]
    return {"reference": _GROUPS[0], "pretrained": _GROUPS[3], "tuned": AT_TEST}[method["kind"]]


def _family(entry: Entry) -> tuple[str, ...]:
    return entry["id"], _trial(entry), _short(entry["summary"])


def _method(entry: Entry) -> tuple[str, ...]:
    name = entry["name"]
    if entry["kind"] == "learned" and (method := registry.LEARNERS[name]).base:
        return name, f"LoRA in every trial by {method.signal}, on {method.base}"
    return name, _short(entry["summary"]).removeprefix(f"{AT_TEST}, ")


def _split(entry: Entry) -> tuple[str, ...]:
    value = f"{entry['value']:g}" if entry["axis"] else ""
    tasks = "endless tasks" if entry["tasks"] is None else f"{entry['tasks']} tasks"
    if entry["training_tasks"]:
        tasks += f", {entry['training_tasks']} of training"
    return entry["name"], value, _trial(entry), tasks


def _axis(entry: Entry) -> tuple[str, ...]:
    values = ", ".join(f"{value:g}" for value in entry["values"])
    return entry["name"], values, entry["unit"]


def _size(entry: Entry) -> tuple[str, ...]:
    name = entry["name"].split()[-1]
    counted = ("families", "methods", "splits", "seeds")
    return name, *(f"{what}: {len(getattr(SIZES[name], what))}" for what in counted)


def _run(entry: Entry) -> tuple[str, ...]:
    seeds = ", ".join(map(str, entry["seeds"]))
    steps = f"{entry['env_steps']:,} environment steps"
    return entry["name"], f"seeds {seeds}", steps, f"{entry['KiB']} KiB"


def _trial(entry: Entry) -> str:
    return f"{entry['episodes']} x {entry['horizon']}"


def _short(summary: str) -> str:
    """The first sentence of a docstring, without citations and marks of code."""
    return re.sub(r" \([^()]*\d{4}[^()]*\)", "", summary).replace("``", "")


_LAYOUTS: dict[str, tuple[Callable[[Entry], str], Callable[[Entry], tuple[str, ...]]]] = {
    "families": (lambda _entry: "Families, with episodes of a trial x steps", _family),
    "methods": (_group, _method),
    "splits": (
        lambda entry: f"{entry['family']}: value, episodes of a trial x steps, tasks",
        _split,
    ),
    "axes": (lambda entry: f"{entry['family']}: the trained value, levels 1 to 4, unit", _axis),
    "experiments": (lambda _entry: "metabridge compare --size", _size),
    "zoo": (lambda entry: entry["family"], _run),
}
"""The heading of an object's group, and the cells of its line, by kind."""
