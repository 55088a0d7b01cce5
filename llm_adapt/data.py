"""Histories as Parquet files: made once for all learners, cached by their definition, read by ``datasets``.

A collection is an unlimited sequence of shards. The content of a shard is a function of its number and of the
collection's definition: family (by hash), split, sources, seed, trial, rows of a shard. The collection's folder has the
hash of the definition as its name, and a README; a shard that exists is not made again. A row is one history, so that
no window of a row crosses the boundary of a task.

The folder is an ordinary dataset: ``datasets.load_dataset(FOLDER)`` reads all shards (``llm_adapt/dataset_card.py``).

Shape letters: B rows, T steps.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import datasets
import numpy as np
import pyarrow as pa
import torch
from datasets.table import InMemoryTable
from jaxtyping import Int
from torch import Tensor

from bridge import files, json_files, parquet
from bridge.cache_folder import cache_folder
from bridge.errors import UserError
from bridge.noise import TrialNoise
from bridge.protocol import Agent, Trial
from bridge.references.registry import reference
from bridge.rng import Rows
from bridge.tasks.base import SUITE_VERSION, Discrete, Space, TaskFamily
from bridge.training.rollouts import task_numbers
from llm_adapt import dataset_card
from llm_adapt.histories import Histories, play
from llm_adapt.tokens import Transition

VERSION = 3
"""Increases when the content of shards changes."""
MINARI = "minari:"
"""The beginning of a Minari dataset's name in the place of a folder."""


@dataclass(frozen=True)
class Definition:
    """All settings that the content of a collection depends on."""

    family: str
    """Canonical name."""
    family_hash: str
    split: str
    """Split of the tasks."""
    sources: tuple[str, ...]
    """Names of the agents that play, in turn."""
    seed: int
    """Of tasks and noise."""
    episodes: int
    """Episodes of each history."""
    rows: int
    """Histories of each shard."""
    suite_version: int | str = SUITE_VERSION
    version: int = VERSION

    @classmethod
    def of(cls, found: dict[str, Any], place: Path, family: TaskFamily, another: str) -> Definition:
        """The definition that a file holds.

        Args:
            found: its fields.
            place: the file, for errors.
            family: the family that it should be of.
            another: the command that makes another one.

        Raises:
            UserError: it is of another family or version, or lacks a field.
        """
        remedy = f"Make another: {another}"
        versions = [found.get(name) for name in ("version", "suite_version")]
        if versions != [VERSION, SUITE_VERSION]:
            raise UserError(
                f"{place} is of version {versions}; this program reads {[VERSION, SUITE_VERSION]}. {remedy}"
            )
        json_files.check(found, place, _TYPES, remedy)
        if found["family_hash"] != family.hash:
            raise UserError(
                f"{place} holds histories on {found['family']} ({found['family_hash']}), not on {family.id} "
                f"({family.hash}). {remedy}"
            )
        fields = {name: found[name] for name in ("split", "seed", "episodes", "rows")}
        return cls(family.id, family.hash, sources=tuple(found["sources"]), **fields)

    @property
    def hash(self) -> str:
        """Sixteen hex digits of a hash of all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


class SavedHistories(NamedTuple):
    """The histories of some shards of a collection."""

    rows: datasets.Dataset
    split: str
    """Split of the tasks."""
    tasks: Int[Tensor, " n"]
    """The number of each row's task."""
    name: str
    """The collection's hash and the numbers of its shards, independent of the folder's place."""


@runtime_checkable
class Shards(Protocol):
    """Histories that a learner reads shard by shard."""

    @property
    def place(self) -> str:
        """Their folder, or the name of their dataset."""

    @property
    def split(self) -> str:
        """Split of the tasks."""

    @property
    def trial(self) -> Trial:
        """Most episodes of a history, and most steps of an episode."""

    @property
    def steps(self) -> int | None:
        """Number of steps in all shards, if no more can be made; None if they can."""

    @property
    def optimal(self) -> bool:
        """True if ``best`` is the informed oracle's action."""

    @property
    def more(self) -> str:
        """The remedy if there are too few steps, as the first half of a sentence."""

    def shard(self, number: int) -> datasets.Dataset:
        """One shard.

        Raises:
            UserError: it cannot be read, or there is none of this number.
        """


def opened(place: str, family: TaskFamily, steps: int) -> Shards:
    """Saved histories for a learner.

    Args:
        place: a collection's folder, or a Minari dataset (``minari:NAME-v0``).
        family: the family that they should be of.
        steps: of a shard, if the place does not fix it.

    Raises:
        UserError: there are none, or they do not fit the family.
    """
    if place.startswith(MINARI):
        from llm_adapt.from_minari import MinariHistories

        return MinariHistories(place, family, steps)
    return Collection.opened(Path(place), family)


def stored(place: Path | str, family: TaskFamily) -> SavedHistories:
    """All histories of a collection's folder, of one of its shards, or of a Minari dataset (``minari:NAME-v0``).

    Raises:
        UserError: there are none, or they do not fit the family.
    """
    if str(place).startswith(MINARI):
        from llm_adapt.from_minari import MinariHistories

        return MinariHistories(str(place), family).saved
    place = Path(place)
    one = place.suffix == ".parquet"
    collection = Collection.opened(place.parent if one else place, family)
    folder, split = collection.folder, collection.definition.split
    shards = [number for number, path in _shards(folder).items() if path == place or not one]
    if not shards:
        raise UserError(
            f"There is no {place.name if one else 'shard-*.parquet'} in {folder} that metabridge data has made. Make "
            f"it: metabridge data SOURCES --family {family.id} --split {split} --out FOLDER"
        )
    tasks = torch.cat([task_numbers(collection.noise(number)) for number in shards])
    rows = datasets.concatenate_datasets([collection.shard(number) for number in shards])
    name = f"{collection.definition.hash}/{','.join(map(str, shards))}"
    return SavedHistories(rows, split, tasks, name)


class Collection:
    """The shards of one definition, made when they are needed.

    Args:
        family: the family of the tasks.
        sources: names of the agents that play, in turn.
        split: of the tasks; learners read only ``train``.
        seed: of tasks and noise.
        episodes: of each history; 0: as many as a trial of the split has.
        rows: histories of each shard.
        folder: the parent of the collection's own folder; None: ``cache_folder() / "histories"``.
        agents: the sources by name; None: the references of these names.
    """

    optimal = True
    more = "Make more by the command that made it with a higher --shards"

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
        """Number of steps in all shards, if no more can be made; None if they can."""

    @classmethod
    def opened(cls, folder: Path, family: TaskFamily) -> Collection:
        """The collection in a folder, for reading only.

        Raises:
            UserError: there is none, or it is of another family or version.
        """
        another = f"metabridge data SOURCES --family {family.id} --out FOLDER"
        if not (folder / _DEFINITION).exists():
            raise UserError(
                f"{folder} holds no collection of histories: no {_DEFINITION}. Make one: {another}"
            )
        found = json_files.read_object(folder / _DEFINITION, f"Make another: {another}")
        definition = Definition.of(found, folder / _DEFINITION, family, another)
        settings = {
            name: getattr(definition, name) for name in ("split", "seed", "episodes", "rows")
        }
        made = cls(family, definition.sources, **settings)
        made.folder = folder
        made.steps = sum(made.steps_of(path) for path in _shards(folder).values())
        return made

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.folder)

    @property
    def split(self) -> str:
        """Split of the tasks."""
        return self.definition.split

    def steps_of(self, path: Path) -> int:
        """Number of steps in a shard.

        Raises:
            UserError: it cannot be read, or does not have as many rows as a shard of this collection.
        """
        remedy = "Remove it, and make it again."
        table = parquet.read(path, ["length"], remedy=remedy)
        if table.schema.types != [pa.int64()] or table["length"].null_count:
            raise UserError(
                f"{path} cannot be read (expected a column of lengths, found none). {remedy}"
            )
        if len(table) != self.definition.rows:
            raise UserError(
                f"{path} cannot be read ({len(table)} rows, expected {self.definition.rows}). {remedy}"
            )
        return sum(table["length"].to_pylist())

    def noise(self, shard: int) -> TrialNoise:
        """The noise of a shard, a row for each history."""
        rows, first = self.definition.rows, shard * self.definition.rows
        return TrialNoise.of(f"histories/{self.definition.seed}", torch.arange(first, first + rows))

    def path(self, shard: int) -> Path:
        """The path of a shard."""
        return self.folder / f"shard-{shard:05d}.parquet"

    def shard(self, number: int) -> datasets.Dataset:
        """One shard, verified and in memory. It is made if it does not exist.

        Raises:
            UserError: it cannot be read, or does not exist in a collection that is for reading only.
        """
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
        """``features`` of the family."""
        return features(self.family)

    def _make(self, number: int, path: Path) -> None:
        d = self.definition
        files.probe(path)  # no history is played that cannot be kept
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
            card = dataset_card.content(asdict(d), self.trial.horizon, self.features)
            files.write_text(self.folder / "README.md", card)
            definition = json.dumps(asdict(d), indent=1, sort_keys=True)
            files.write_text(self.folder / _DEFINITION, definition)
        parquet.write(path, made.data.table)


def features(family: TaskFamily) -> datasets.Features:
    """The columns: ``source``, ``length``, and a list of all steps for each of the others."""
    obs, action = _feature(family.observation), _feature(family.action)
    steps = {
        "obs": obs,
        "action": action,
        "reward": datasets.Value("float32"),
        "next_obs": obs,
        "end": datasets.Value("bool"),
        "asked": obs,
        "best": action,
    }
    return datasets.Features(
        {"source": datasets.Value("string"), "length": datasets.Value("int64")}
        | {name: datasets.List(kind) for name, kind in steps.items()}
    )


_DEFINITION = "definition.json"
_TYPES = {
    "family": str,
    "family_hash": str,
    "split": str,
    "sources": list,
    "seed": int,
    "episodes": int,
    "rows": int,
}
"""The keys of a definition and their types, besides the versions, which are compared first."""
_SHARD = re.compile(r"shard-(\d{5,})\.parquet")


def _shards(folder: Path) -> dict[int, Path]:
    """The paths of a collection's shards by number, in that order."""
    found = ((_SHARD.fullmatch(path.name), path) for path in sorted(folder.glob("shard-*.parquet")))
    return {int(name[1]): path for name, path in found if name}


def drawn(rows: datasets.Dataset, noise: Rows) -> Histories:
    """A row for each row of ``noise``, drawn by it with equal chances."""
    number = noise.at("row").uniform().double() * len(rows)
    return read(rows, number.long().tolist())


def read(rows: datasets.Dataset, index: Sequence[int] | np.ndarray) -> Histories:
    """Some rows as tensors, padded with zeros to the length of the longest."""
    table = rows.with_format("arrow")[list(index)]
    length = torch.tensor(table["length"].to_pylist())
    at = torch.arange(int(length.max())) < length[:, None]

    def column(name: str) -> Tensor:
        values, width = table[name].combine_chunks().flatten(), ()
        if pa.types.is_fixed_size_list(values.type):
            width = (values.type.list_size,)
            values = values.flatten()
        flat = torch.from_numpy(values.to_numpy(zero_copy_only=False).copy())
        dtype = torch.int64 if flat.dtype == torch.int16 else torch.float32
        out = torch.zeros(*at.shape, *width, dtype=dtype)
        out[at] = flat.to(dtype).view(-1, *width)
        return out

    steps = Transition(*(column(name) for name in Transition._fields))
    return Histories(steps, column("asked"), column("best"), length)


def _feature(space: Space) -> Any:
    """The type of a value of ``space``."""
    if isinstance(space, Discrete):
        return datasets.Value("int16")
    return datasets.List(datasets.Value("float32"), length=len(space.low))
