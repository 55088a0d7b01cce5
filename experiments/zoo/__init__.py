"""Trained runs that ship with metabridge: ``zoo:METHOD/FAMILY/SEED`` is a run folder of this package.

    zoo:icl_rl/gridnavi       the run of training seed 0
    zoo:icl_rl/gridnavi/2     that of seed 2
    zoo:icl_rl                on a given family: its run of seed 0; ``compare`` plays all of its seeds

A run folder here holds the agent alone, in half precision (``run_folder.export``), and a model card, ``README.md``.
``python -m experiments.zoo.make`` trains them all again.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from bridge.errors import UserError, nearest, unknown

RUNS = Path(__file__).parent / "runs"
"""METHOD/FAMILY/SEED below it is a run folder."""
PREFIX = "zoo:"


class Entry(NamedTuple):
    """One run of the zoo."""

    method: str
    family: str
    """The name of its family; ``config.json`` has the whole spec."""
    seed: int

    @property
    def spec(self) -> str:
        """The spec that names it: ``zoo:METHOD/FAMILY/SEED``."""
        return f"{PREFIX}{self.method}/{self.family}/{self.seed}"

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return RUNS / self.method / self.family / str(self.seed)


def entries() -> list[Entry]:
    """Return all runs, sorted."""
    found = (path.parent.relative_to(RUNS).parts for path in RUNS.glob("*/*/*/config.json"))
    return sorted(Entry(method, family, int(seed)) for method, family, seed in found)


def is_entry(spec: str) -> bool:
    """Return True if ``spec`` names a run of the zoo, whether or not there is one."""
    return spec.startswith(PREFIX)


def is_method(spec: str) -> bool:
    """Return True if ``spec`` is ``zoo:METHOD``, which names a run once a family is given."""
    return is_entry(spec) and "/" not in spec


def folder(spec: str) -> Path:
    """Return the run folder that ``zoo:METHOD/FAMILY`` or ``zoo:METHOD/FAMILY/SEED`` names.

    Raises:
        UserError: it names none; the nearest names are given.
    """
    method, _, place = spec.removeprefix(PREFIX).partition("/")
    family, _, seed = place.partition("/")
    known = [str(number) for number in seeds(method, family)]
    if seed and seed not in known:
        raise UserError(
            f"{spec} is not in the zoo: {method}/{family} has the training seeds {', '.join(known)}. Write one of "
            "these."
        )
    return RUNS / method / family / (seed or known[0])


def seeds(method: str, family: str) -> list[int]:
    """Return the training seeds of a method on a family, by its name.

    Raises:
        UserError: the zoo has no such run; the families on which it has the method are given.
    """
    known = families(method)
    if family not in known:
        spec = f"{PREFIX}{method}"
        raise UserError(
            f"{f'{spec}/{family}'.rstrip('/')} is no run of the zoo, which has {method} on {', '.join(known)}. "
            f"{nearest(family, known)}Write {spec}/FAMILY."
        )
    return [entry.seed for entry in entries() if entry[:2] == (method, family)]


def families(method: str) -> list[str]:
    """Return the names of the families on which the zoo has a method.

    Raises:
        UserError: it has none of that name; the nearest name is given.
    """
    found = [entry.family for entry in entries() if entry.method == method]
    if not found:
        raise unknown("method of the zoo", method, {entry.method for entry in entries()})
    return list(dict.fromkeys(found))


def listing() -> list[dict[str, Any]]:
    """Return an object for each method and family: its spec, training seeds, environment steps and size in KiB."""
    seeds: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries():
        seeds.setdefault(entry[:2], []).append(entry)
    return [_listed(runs) for runs in seeds.values()]


def _listed(runs: list[Entry]) -> dict[str, Any]:
    about = json.loads((runs[0].folder / "config.json").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for run in runs for path in run.folder.iterdir())
    return {
        "name": f"{PREFIX}{runs[0].method}/{runs[0].family}",
        "family": about["family"],
        "seeds": [run.seed for run in runs],
        "env_steps": int(about["schedule"]["budget"]["amount"]),
        "KiB": math.ceil(size / 1024),
    }
