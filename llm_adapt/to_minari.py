"""Histories as a Minari dataset: ``minari.load_dataset(NAME)`` opens it in any program.

An episode of a history is an episode of the dataset, in the order in which it was played. Its metadata have the number
of its ``history``, of its ``task`` and of the ``episode`` within the history, and the ``source`` that played. Its infos
have the query states and the oracle's actions (``asked``, ``best``; the last ones are repeated, since infos have an
entry for each observation). The dataset's metadata have the definition of the collection as ``metabridge``.

Shards keep that an episode ended, and not why: what ends in the horizon's last step is truncated, anything before it
terminated. The seed of an episode is the number of its history, which with the collection's seed names all its noise;
it is no seed of a Gymnasium environment.

Shape letters: T steps of an episode.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from torch import Tensor

from bridge.errors import StorageError, UserError
from bridge.tasks import to_gymnasium
from bridge.tasks.base import TaskFamily
from bridge.training.rollouts import task_numbers
from llm_adapt import minari_package
from llm_adapt.data import Collection, read
from llm_adapt.histories import Histories

if TYPE_CHECKING:
    from minari.data_collector.episode_buffer import EpisodeBuffer

_DESCRIPTION = (
    "Learning histories on {family} (hash {family_hash}), split {split}, by metabridge. An episode's metadata have its "
    "history, its task, its place in the history and its source; its seed is the number of its history."
)


def check_free(name: str) -> None:
    """Make sure that a dataset of this name can be made.

    Raises:
        UserError: the name is malformed or taken, or the package is missing.
    """
    minari_package.check_name(name)
    minari_package.package()
    from minari.storage import get_dataset_path

    if (path := get_dataset_path(name)).exists():
        raise UserError(
            f"There is a Minari dataset {name} already ({path}). Choose another version, or delete it: minari delete "
            f"{name}"
        )


def export(collection: Collection, shards: Sequence[int], name: str) -> None:
    """Make a Minari dataset of some shards of a collection.

    Raises:
        UserError: as ``check_free``.
        StorageError: it cannot be written; nothing is left of it.
    """
    check_free(name)
    from minari.storage import get_dataset_path

    try:
        with minari_package.quiet():
            made = [each for shard in shards for each in _episodes(collection, shard)]
            check_free(name)  # again: another process may have made it meanwhile
            _write(collection, made, name)
    except UserError:
        raise
    except BaseException as error:
        shutil.rmtree(get_dataset_path(name), ignore_errors=True)
        if isinstance(error, OSError):
            raise StorageError(
                f"The Minari dataset {name} cannot be written ({error}). Free space, or set MINARI_DATASETS_PATH to "
                "another folder."
            ) from error
        raise


def _write(
    collection: Collection, made: list[tuple[EpisodeBuffer, dict[str, int | str]]], name: str
) -> None:
    family, definition = collection.family, collection.definition
    dataset = minari_package.package().create_dataset_from_buffers(
        name,
        [buffer for buffer, _ in made],
        env=_environment(family, definition.split),
        observation_space=to_gymnasium.gymnasium_space(family.observation),
        action_space=to_gymnasium.gymnasium_space(family.action),
        algorithm_name="+".join(definition.sources),
        description=_DESCRIPTION.format(**asdict(definition)),
    )
    dataset.storage.update_episode_metadata([about for _, about in made])
    dataset.storage.update_metadata({"metabridge": asdict(definition)})


def _environment(family: TaskFamily, split: str) -> gymnasium.envs.registration.EnvSpec | None:
    """The registered environment of a family and a split; None if there is none."""
    spec = gymnasium.registry.get(f"metabridge/{family.name}-v0")
    if spec is None or family.place:
        return None
    spec = copy.deepcopy(spec)
    spec.kwargs = {"spec": family.id, "split": split}
    return spec


def _episodes(
    collection: Collection, shard: int
) -> Iterator[tuple[EpisodeBuffer, dict[str, int | str]]]:
    """Every episode of a shard, and its metadata."""
    rows = collection.shard(shard)
    histories = read(rows, range(len(rows)))
    tasks = task_numbers(collection.noise(shard)).tolist()
    for row, (task, source) in enumerate(zip(tasks, rows["source"], strict=True)):
        history = shard * collection.definition.rows + row
        stops = histories.steps.end[row].nonzero().flatten() + 1
        for episode, (start, stop) in enumerate(pairwise([0, *stops.tolist()])):
            about = {"history": history, "task": task, "episode": episode, "source": source}
            steps = slice(start, stop)
            yield _buffer(histories, row, steps, history, collection.trial.horizon), about


def _buffer(histories: Histories, row: int, steps: slice, seed: int, horizon: int) -> EpisodeBuffer:
    """Some steps of a history as an episode."""
    from minari.data_collector.episode_buffer import EpisodeBuffer

    obs, action, reward, next_obs = (part[row, steps].numpy() for part in histories.steps[:4])
    last = np.arange(len(reward)) == len(reward) - 1
    in_time = len(reward) < horizon
    return EpisodeBuffer(
        seed=seed,
        observations=[*obs, next_obs[-1]],
        actions=list(action),
        rewards=reward.tolist(),
        terminations=(last & in_time).tolist(),
        truncations=(last & (not in_time)).tolist(),
        infos={name: _padded(getattr(histories, name)[row, steps]) for name in ("asked", "best")},
    )


def _padded(values: Tensor) -> list[Any]:
    """T values, and the last one again."""
    found = values.numpy()
    return [*found, found[-1]]
