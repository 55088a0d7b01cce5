"""Histories from a Minari dataset: ``minari:NAME-v0``, or ``minari:NAME-v0+task=COLUMN``.

A dataset is of one task, or a column has the task of each episode: an entry of the episode's metadata
(``options/seed`` is an entry within another), or an info that is the same in all steps of the episode. Episodes of one
task, in the dataset's order, are cut into histories of as many episodes as a trial of the family has; the last one may
have fewer. Histories follow one another as their first episodes do. A dataset that metabridge made has its histories
and its split as they were.

Spaces of the dataset are read as those of ``gym:`` families are (``bridge/tasks/gym_spaces.py``): a dataset of an
environment fits the family ``gym:`` of this environment, and one of ours the family that it was made of. Such a dataset
has an oracle's actions; any other has ``asked`` and ``best`` that are its own observations and actions.

Shape letters: T steps of an episode or a history.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import datasets
import numpy as np
import torch
from gymnasium.vector.utils import batch_space, iterate
from torch import Tensor

from bridge.errors import UserError, unknown
from bridge.protocol import Trial
from bridge.tasks.base import Discrete, Space, TaskFamily
from bridge.tasks.gym_spaces import Actions, Observations
from llm_adapt import minari_package
from llm_adapt.data import MINARI, Definition, SavedHistories, features

if TYPE_CHECKING:
    from minari import EpisodeData, MinariDataset

_STEPS = 20_000
"""Environment steps of a shard by default."""


class _Episode(NamedTuple):
    """One episode as values of a family's spaces."""

    number: int
    """Its place in the dataset."""
    task: Hashable
    """Equal in all episodes of one task, or of one history."""
    about: Mapping[str, Any]
    """Its metadata."""
    columns: dict[str, np.ndarray]
    """The columns of a history, ``[T, ...]`` each."""


class MinariHistories:
    """The histories of a Minari dataset, in the place of a collection.

    Args:
        place: ``minari:NAME-v0`` or ``minari:NAME-v0+task=COLUMN``.
        family: the family that plays them.
        steps: of a shard, in whole histories, of which there is at least one.

    Raises:
        UserError: there is none of this name, it does not fit the family, or it has no such column.
    """

    more = "Take a larger dataset"

    def __init__(self, place: str, family: TaskFamily, steps: int = _STEPS) -> None:
        self.place = place
        name, column = _parts(place)
        dataset = minari_package.load(name)
        definition = _definition(dataset, family)
        self.optimal = bool(definition)
        self.split = definition.split if definition else "train"
        whole = family.trial(self.split)
        self.trial = Trial(definition.episodes if definition else whole.episodes, whole.horizon)
        if definition:
            column = column or "history"
        with minari_package.reading(name):
            episodes = list(_episodes(dataset, family, column, self))
        histories = _histories(episodes, self.trial.episodes)
        self.rows, digest = _rows(histories, family, name)
        self.steps = sum(self.rows["length"])
        tasks = _tasks(histories, definition)
        self.saved = SavedHistories(self.rows, self.split, tasks, f"{place} {digest}")
        self._rows_of_shard = max(1, steps * len(histories) // self.steps)

    def shard(self, number: int) -> datasets.Dataset:
        """Some of the histories.

        Raises:
            UserError: there are no more.
        """
        first = number * self._rows_of_shard
        if first >= len(self.rows):
            raise UserError(
                f"{self.place} holds {self.steps:,} steps, and more are needed. {self.more}, or lower the budget."
            )
        return self.rows.select(range(first, min(first + self._rows_of_shard, len(self.rows))))


def _parts(place: str) -> tuple[str, str]:
    """The name of a dataset, and its column of tasks or an empty string."""
    name, plus, given = place.removeprefix(MINARI).partition("+")
    key, _, column = given.partition("=")
    if plus and (key != "task" or not column):
        raise UserError(
            f"Expected task=COLUMN after the + of {place!r}, found {given!r}. Write {MINARI}{name}+task=COLUMN"
        )
    return name, column


def _definition(dataset: MinariDataset, family: TaskFamily) -> Definition | None:
    """The definition of the collection that a dataset was made of; None if metabridge has not made it.

    Raises:
        UserError: it is of another family or version.
    """
    found = dataset.storage.metadata.get("metabridge")
    if not isinstance(found, dict):
        return None
    another = f"metabridge data SOURCES --family {family.id} --out FOLDER --minari NAME-v0"
    return Definition.of(found, dataset.storage.data_path / "metadata.json", family, another)


def _episodes(
    dataset: MinariDataset, family: TaskFamily, column: str, read: MinariHistories
) -> Iterator[_Episode]:
    """The episodes of a dataset, with the steps and the labels that ``read`` has.

    Raises:
        UserError: there are none, its spaces are not the family's, an episode is empty or too long, or the column is
            no task.
    """
    if not dataset.total_episodes:
        raise UserError(f"{dataset.id} has no episodes. Name a dataset that has.")
    observations = Observations(dataset.observation_space, dataset.id)
    actions = Actions(dataset.action_space, dataset.id)
    _check_space("observations", dataset, observations.ours, family, family.observation)
    _check_space("actions", dataset, actions.ours, family, family.action)
    metadata = dataset.storage.get_episode_metadata(dataset.episode_indices)
    for number, (episode, entries) in enumerate(
        zip(dataset.iterate_episodes(), metadata, strict=True)
    ):
        steps, place = len(episode), f"Episode {number} of {dataset.id}"
        if not 1 <= steps <= read.trial.horizon:
            raise UserError(
                f"{place} has {steps:,} steps; an episode of {family.id} has 1 to {read.trial.horizon:,}. Choose a "
                "family with a longer horizon (gym: families have steps=), or leave the episode out "
                "(MinariDataset.filter_episodes)."
            )
        batch = batch_space(dataset.observation_space, steps + 1)
        seen = observations.read(list(iterate(batch, episode.observations)))
        if len(seen) != steps + 1:
            raise ValueError(f"{len(seen)} observations in episode {number}, expected {steps + 1}")
        about = _flat(entries)
        labels = episode.infos if read.optimal else {}
        columns = _columns(episode, seen, actions.read(episode.actions), labels)
        task = _task(column, about, episode.infos or {}, place) if column else None
        yield _Episode(number, task, about, columns)


def _check_space(
    what: str, dataset: MinariDataset, found: Space, family: TaskFamily, expected: Space
) -> None:
    """Make sure that a space of a dataset is the family's, but for rounding to float32.

    Raises:
        UserError: it is not.
    """
    bounds, needed = (np.array([each.low, each.high], np.float32) for each in (found, expected))
    if type(found) is type(expected) and np.array_equal(bounds, needed):
        return
    raise UserError(
        f"The {what} of {dataset.id} are {_in_words(found)}; those of {family.id} are {_in_words(expected)}. Choose "
        "the family that the dataset was made of: gym:NAME for an environment of Gymnasium."
    )


def _in_words(space: Space) -> str:
    if isinstance(space, Discrete):
        return f"integers from 0 to {space.high}"
    low, high = ([float(f"{bound:.4g}") for bound in ends] for ends in (space.low, space.high))
    if len(low) > 8:
        return f"vectors of {len(low)} numbers from {min(low):g} to {max(high):g}"
    return f"vectors from {low} to {high}"


def _columns(
    episode: EpisodeData, seen: Tensor, action: Tensor, labels: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The steps of an episode as columns of a history; without ``labels``, these are its own states and actions."""
    obs, done = seen.numpy(), action.numpy()
    steps = len(done)
    return {
        "obs": obs[:-1],
        "action": done,
        "reward": episode.rewards.astype(np.float32),
        "next_obs": obs[1:],
        "end": np.arange(steps) == steps - 1,
        "asked": labels.get("asked", obs)[:steps],
        "best": labels.get("best", done)[:steps],
    }


def _task(column: str, about: Mapping[str, Any], infos: Mapping[str, Any], place: str) -> Hashable:
    """The entry of an episode in a column.

    Raises:
        UserError: there is no such column, or its entry is no single number or text.
    """
    steps = _flat(infos)
    if column not in about and column not in steps:
        raise unknown("column of tasks", column, {**about, **steps})
    entry = about.get(column)
    if column in about and entry is None:
        raise UserError(
            f"An episode of {place} has nothing as its {column!r}, and a task is one number or text. Name another "
            "column, or make the dataset again with it in every episode."
        )
    if entry is None:
        entry = steps[column][0]
        if np.ndim(entry) == 0 and any(other != entry for other in steps[column]):
            raise UserError(
                f"{place} has several values of {column!r}; an episode is of one task. Name a column that stays the "
                "same within an episode."
            )
    if np.ndim(entry):
        raise UserError(
            f"{place} has an array as its {column!r}, and a task is one number or text. Name another column."
        )
    return entry.item() if isinstance(entry, np.generic) else entry


def _flat(entries: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """``{"options": {"seed": 3}}`` as ``{"options/seed": 3}``."""
    found = {}
    for key, value in entries.items():
        found |= (
            _flat(value, f"{before}{key}/") if isinstance(value, Mapping) else {before + key: value}
        )
    return found


def _histories(episodes: list[_Episode], most: int) -> list[tuple[_Episode, ...]]:
    """Episodes of one task as histories of at most ``most`` episodes, in the order of their first episodes."""
    by_task: dict[Hashable, list[_Episode]] = {}
    for episode in episodes:
        by_task.setdefault(episode.task, []).append(episode)
    histories = [
        tuple(mine[first : first + most])
        for mine in by_task.values()
        for first in range(0, len(mine), most)
    ]
    return sorted(histories, key=lambda history: history[0].number)


def _rows(
    histories: list[tuple[_Episode, ...]], family: TaskFamily, name: str
) -> tuple[datasets.Dataset, str]:
    """A row for each history, and sixteen hex digits of a hash of their steps."""
    digest = hashlib.sha256()
    rows: dict[str, list[Any]] = {key: [] for key in features(family)}
    for history in histories:
        rows["source"].append(str(history[0].about.get("source", name)))
        rows["length"].append(sum(len(episode.columns["reward"]) for episode in history))
        for key in history[0].columns:
            values = np.concatenate([episode.columns[key] for episode in history])
            rows[key].append(values)
            digest.update(f"{key} {values.shape} {values.dtype}".encode() + values.tobytes())
    made = datasets.Dataset.from_dict(rows, features=features(family))
    return made, digest.hexdigest()[:16]


def _tasks(histories: list[tuple[_Episode, ...]], definition: Definition | None) -> Tensor:
    """The number of each history's task: in its split if it is known, else in the order of first appearance."""
    if definition and all("task" in history[0].about for history in histories):
        return torch.tensor([int(history[0].about["task"]) for history in histories])
    numbers: dict[Hashable, int] = {}
    return torch.tensor([numbers.setdefault(h[0].task, len(numbers)) for h in histories])
