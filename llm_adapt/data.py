"""Histories as Parquet: made once for all who learn from them, cached by what defines them, read by ``datasets``.

A collection is an endless row of shards. What is in a shard is a function of its number and of the collection's
definition alone: family (by hash), split, sources, seed, trial, rows of a shard. It lies in a folder that is named by
the hash of the definition, beside a card that describes it; a shard that is there is not made again. A row is one
history, so that nothing that is cut from a row crosses a task's boundary.

The folder is a dataset like any other: ``datasets.load_dataset("parquet", data_files=..., streaming=True)`` reads it.

Shape letters: B rows, T steps.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import torch
from datasets.table import InMemoryTable
from jaxtyping import Int
from torch import Tensor

from bridge import files, json_files, parquet
from bridge.errors import UserError
from bridge.noise import TrialNoise
from bridge.protocol import Agent, Trial
from bridge.references.registry import reference
from bridge.tasks.base import SUITE_VERSION, Box, Discrete, TaskFamily
from bridge.training.rollouts import task_numbers
from llm_adapt.histories import Histories, play
from llm_adapt.tokens import Transition

VERSION = 3
"""Moves when what a shard holds moves."""

CACHE = "METABRIDGE_CACHE"
"""The environment variable that names another folder than ~/.cache/metabridge."""


@dataclass(frozen=True)
class Definition:
    """Everything that the contents of a collection depend on."""

    family: str
    """Canonical name."""
    family_hash: str
    split: str
    """The split of the tasks."""
    sources: tuple[str, ...]
    seed: int
    episodes: int
    """Of each history."""
    rows: int
    """Of each shard."""
    suite_version: int | str = SUITE_VERSION
    version: int = VERSION

    @property
    def hash(self) -> str:
        """Sixteen hex digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Return the folder of collections without a folder of their own."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "metabridge")


class Stored(NamedTuple):
    """Histories from files."""

    rows: datasets.Dataset
    split: str
    """The split of the tasks."""
    tasks: Int[Tensor, " n"]
    """Numbers of the tasks, in the order of rows."""
    name: str
    """Identity, whatever the place: the collection's hash, and the numbers of its shards."""


def stored(place: Path, family: TaskFamily) -> Stored:
    """All histories of a collection's folder, or those of one of its shards.

    Raises:
        UserError: there are none, or they are of another family or version.
    """
    one = place.suffix == ".parquet"
    found = Collection.opened(place.parent if one else place, family)
    shards = [number for number, path in _shards(found.folder).items() if path == place or not one]
    if not shards:
        raise UserError(
            f"There is no {place.name if one else 'shard-*.parquet'} in {found.folder} that metabridge data has made. "
            f"Make it: metabridge data SOURCES --family {family.id} --split {found.definition.split} --out FOLDER"
        )
    tasks = torch.cat([task_numbers(found.noise(number)) for number in shards])
    rows = datasets.concatenate_datasets([found.shard(number) for number in shards])
    name = f"{found.definition.hash}/{','.join(map(str, shards))}"
    return Stored(rows, found.definition.split, tasks, name)


class Collection:
    """The shards of one definition, each made when it is first read.

    Args:
        family: whose tasks are played.
        sources: who plays, in turn, by name.
        split: of which tasks; learners read those of ``train`` alone.
        seed: of tasks and noise.
        episodes: of each history; 0: as many as a trial of the split has.
        rows: histories of each shard.
        folder: where the collection's own folder lies; None: ``cache_folder() / "histories"``.
        agents: the sources, each by a name that no other source has; None: references by these names.
    """

    def __init__(
        self,
        family: TaskFamily,
        sources: Sequence[str],
        *,
        split: str = "train",
        seed: int = 0,
        episodes: int = 0,
        rows: int = 256,
        folder: Path | None = None,
        agents: Mapping[str, Agent] | None = None,
    ) -> None:
        whole = family.trial(split)
        self.family = family
        self.trial = Trial(episodes or whole.episodes, whole.horizon)
        self.definition = Definition(
            family.id, family.hash, split, tuple(sources), seed, self.trial.episodes, rows
        )
        self.folder = (folder or cache_folder() / "histories") / self.definition.hash
        self.agents = agents
        self.steps: int | None = None
        """Number of steps, if no more can be made."""

    @classmethod
    def opened(cls, folder: Path, family: TaskFamily) -> Collection:
        """A collection that somebody has made: only to be read.

        Raises:
            UserError: there is none, or it is of another family or version.
        """
        another = f"metabridge data SOURCES --family {family.id} --out FOLDER"
        if not (folder / _DEFINITION).exists():
            raise UserError(
                f"{folder} holds no collection of histories: no {_DEFINITION}. Make one: {another}"
            )
        found = json_files.read_object(folder / _DEFINITION, f"Make another: {another}")
        versions, ours = (
            [found.get(name) for name in ("version", "suite_version")],
            [VERSION, SUITE_VERSION],
        )
        if versions != ours:
            raise UserError(
                f"{folder} is of version {versions}; this program reads {ours}. Make another: {another}"
            )
        json_files.check(found, folder / _DEFINITION, _SAYS, f"Make another: {another}")
        if (found["family"], found["family_hash"]) != (family.id, family.hash):
            raise UserError(
                f"{folder} holds histories on {found['family']} ({found['family_hash']}), not on {family.id} "
                f"({family.hash}). Make another: {another}"
            )
        settings = {name: found[name] for name in ("split", "seed", "episodes", "rows")}
        made = cls(family, found["sources"], **settings)
        made.folder = folder
        made.steps = sum(made.steps_of(path) for path in _shards(folder).values())
        return made

    def steps_of(self, path: Path) -> int:
        """Return the number of steps in a shard.

        Raises:
            UserError: it cannot be read, or has not as many rows as a shard of this collection.
        """
        remedy = "Remove it, and make it again."
        table = parquet.read(path, ["length"], remedy=remedy)
        if table.schema.types != [pa.int64()] or table["length"].null_count:
            raise UserError(
                f"{path} cannot be read (expected a column of lengths, found none). {remedy}"
            )
        if len(table) != self.definition.rows:
            raise UserError(
                f"{path} cannot be read ({len(table)} rows, not {self.definition.rows}). {remedy}"
            )
        return sum(table["length"].to_pylist())

    def noise(self, shard: int) -> TrialNoise:
        """A row for each history of a shard."""
        d = self.definition
        return TrialNoise.of(
            f"histories/{d.seed}", torch.arange(shard * d.rows, (shard + 1) * d.rows)
        )

    def path(self, shard: int) -> Path:
        """Return the path of a shard, whether or not it exists."""
        return self.folder / f"shard-{shard:05d}.parquet"

    def shard(self, number: int) -> datasets.Dataset:
        """One shard, verified and in memory; it is made if it is not there."""
        path = self.path(number)
        if not path.exists():
            if self.steps is not None:
                raise UserError(
                    f"{self.folder} has no {path.name}. Make it by the command that made the others, with --shards "
                    f"{number + 1} or more."
                )
            self._make(number, path)
        remedy = "Remove it; it will be made again."
        table = parquet.read(path, remedy=remedy)
        try:
            rows = table.select(list(self.features)).cast(self.features.arrow_schema)
        except (ValueError, KeyError, pa.ArrowException) as error:
            raise UserError(f"{path} cannot be read ({error}). {remedy}") from error
        return datasets.Dataset(InMemoryTable(rows), fingerprint=f"{self.definition.hash}-{number}")

    @cached_property
    def features(self) -> datasets.Features:
        """The columns: a list of steps each, but ``length`` and ``source``."""
        obs, action = _feature(self.family.observation), _feature(self.family.action)
        number, flag = (
            datasets.List(datasets.Value("float32")),
            datasets.List(datasets.Value("bool")),
        )
        steps = {"obs": obs, "action": action, "reward": number, "next_obs": obs, "end": flag}
        steps |= {"asked": obs, "best": action}
        return datasets.Features(
            {"source": datasets.Value("string"), "length": datasets.Value("int64")}
            | {
                name: datasets.List(kind) if name in _SPACED else kind
                for name, kind in steps.items()
            }
        )

    def _make(self, number: int, path: Path) -> None:
        d = self.definition
        agents = [
            self.agents[n] if self.agents else reference(n, self.family, d.split) for n in d.sources
        ]
        histories = play(agents, self.family, self.trial, self.noise(number), d.split)
        names = [d.sources[row % len(d.sources)] for row in range(d.rows)]
        lengths = histories.length.tolist()
        columns: dict[str, Any] = {"source": names, "length": lengths}
        for name, rows in (
            histories.steps._asdict() | {"asked": histories.asked, "best": histories.best}
        ).items():
            values = rows.bool() if name == "end" else rows
            columns[name] = [row[:n].numpy() for row, n in zip(values, lengths, strict=True)]
        made = datasets.Dataset.from_dict(columns, features=self.features)
        if not (self.folder / _DEFINITION).exists():
            files.write_text(self.folder / "README.md", self._card())
            files.write_text(
                self.folder / _DEFINITION, json.dumps(asdict(d), indent=1, sort_keys=True)
            )
        parquet.write(path, made.data.table)

    def _card(self) -> str:
        d = self.definition
        return _CARD.format(
            family=d.family,
            hash=d.family_hash,
            split=d.split,
            sources=", ".join(d.sources),
            episodes=d.episodes,
            horizon=self.trial.horizon,
            rows=d.rows,
            definition=json.dumps(asdict(d), indent=1, sort_keys=True),
        )


_DEFINITION = "definition.json"
_SAYS = {
    "family": str,
    "family_hash": str,
    "split": str,
    "sources": list,
    "seed": int,
    "episodes": int,
    "rows": int,
}
"""Keys of a definition file, and their types; versions are compared first."""
_SHARD = re.compile(r"shard-(\d{5,})\.parquet")
_SPACED = ("obs", "action", "next_obs", "asked", "best")

_CARD = """---
pretty_name: Learning histories on {family}
tags: [meta-reinforcement-learning, in-context-learning]
configs:
- config_name: default
  data_files: shard-*.parquet
---
# Learning histories on {family}

Made by metabridge. A row is the whole history of one learner ({sources}, in turn) on one task of the split {split}:
{episodes} episodes of at most {horizon} steps; {rows} rows a shard. Columns, a list of steps each: `obs`, `action`,
`reward`, `next_obs`, `end` (this step ended its episode), `asked` (a state drawn at random from those of the shard),
`best` (the informed oracle's action there). Rewards are as the task pays them. Nothing of the task's parameters is
shown.

What it holds is a function of this definition (family hash {hash}) and the shard's number:

```json
{definition}
```
"""


def _shards(folder: Path) -> dict[int, Path]:
    """The files of a collection by number, in that order."""
    found = ((_SHARD.fullmatch(path.name), path) for path in sorted(folder.glob("shard-*.parquet")))
    return {int(name[1]): path for name, path in found if name}


def read(
    rows: datasets.Dataset, index: Sequence[int] | np.ndarray, family: TaskFamily
) -> Histories:
    """Some rows as tensors, padded with zeros to the length of the longest."""
    table = rows.with_format("arrow")[list(index)]
    length = torch.tensor(table["length"].to_pylist())
    at = torch.arange(int(length.max())) < length[:, None]

    def column(name: str, space: Discrete | Box | None, dtype: torch.dtype) -> Tensor:
        values = table[name].combine_chunks().flatten()
        if isinstance(space, Box):
            values = values.flatten()
        flat = torch.from_numpy(values.to_numpy(zero_copy_only=False).copy()).to(dtype)
        width = (len(space.low),) if isinstance(space, Box) else ()
        out = torch.zeros(*at.shape, *width, dtype=dtype)
        out[at] = flat.view(-1, *width)
        return out

    def spaced(name: str, space: Discrete | Box) -> Tensor:
        return column(name, space, torch.int64 if isinstance(space, Discrete) else torch.float32)

    obs, next_obs, asked = (
        spaced(name, family.observation) for name in ("obs", "next_obs", "asked")
    )
    action, best = (spaced(name, family.action) for name in ("action", "best"))
    reward, end = (column(name, None, torch.float32) for name in ("reward", "end"))
    return Histories(Transition(obs, action, reward, next_obs, end), asked, best, length)


def _feature(space: Discrete | Box) -> Any:
    """Of one step."""
    if isinstance(space, Discrete):
        return datasets.Value("int16")
    return datasets.List(datasets.Value("float32"), length=len(space.low))
