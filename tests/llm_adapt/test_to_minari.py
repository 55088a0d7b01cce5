"""Histories as Minari datasets: episodes, seeds, spaces and metadata as minari itself reads them."""

import shutil

import datasets
import gymnasium
import minari
import numpy as np
import pytest
import torch
from gymnasium import spaces

from bridge.errors import StorageError, UserError
from bridge.tasks import family as make_family
from llm_adapt import data, minari_package, to_minari
from llm_adapt.data import Collection, read, stored
from llm_adapt.from_minari import MinariHistories

NAME = "tests/made-v0"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """Minari's datasets lie where the test's do."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def exported(folder, spec="gridnavi", sources=("psrl", "random"), shards=(0, 1), **options):
    made = Collection(make_family(spec), sources, folder=folder, **({"rows": 3} | options))
    to_minari.export(made, shards, NAME)
    return made


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("gridnavi", {"episodes": 2}),
        ("bandit:k=3,n=6,arms=gaussian", {"sources": ("thompson",)}),
        ("point_nav", {"sources": ("random",), "episodes": 3, "split": "shift/obs_noise/4"}),
        ("gridnavi", {"episodes": 9, "split": "shift/slip/2"}),
        ("gridnavi", {"split": "shift/reward_delay/3"}),
    ],
)
def test_histories_come_back_bitwise(tmp_path, spec, options):
    made = exported(tmp_path, spec, **options)
    before, found = (stored(place, made.family) for place in (made.folder, f"minari:{NAME}"))
    assert found.rows.to_dict() == before.rows.to_dict()
    assert found.rows.features == before.rows.features
    assert torch.equal(found.tasks, before.tasks)
    assert found.split == before.split
    assert MinariHistories(f"minari:{NAME}", made.family).trial == made.trial


def test_minari_reads_episodes_seeds_and_spaces(tmp_path):
    """Two histories of a shard, one of each source, by hand."""
    made = exported(tmp_path, shards=(0, 1), rows=2, episodes=2)
    dataset, family = minari.load_dataset(NAME), made.family
    horizon = made.trial.horizon
    assert dataset.total_episodes == 2 * 2 * 2
    assert dataset.total_steps == 8 * horizon
    assert dataset.observation_space == spaces.Box(0, 4, (2,), np.float32)
    assert dataset.action_space == spaces.Discrete(5)
    rows = [made.shard(shard) for shard in (0, 1)]
    metadata = list(dataset.storage.get_episode_metadata(dataset.episode_indices))
    assert [each["seed"] for each in metadata] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [each["history"] for each in metadata] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [each["episode"] for each in metadata] == [0, 1] * 4
    assert [each["source"] for each in metadata] == ["psrl", "psrl", "random", "random"] * 2
    tasks = stored(made.folder, family).tasks.tolist()
    assert [each["task"] for each in metadata] == [task for task in tasks for _ in range(2)]
    for number, episode in enumerate(dataset):
        history = read(rows[number // 4], [number // 2 % 2])
        steps = slice(number % 2 * horizon, (number % 2 + 1) * horizon)
        assert len(episode.observations) == len(episode.actions) + 1 == horizon + 1
        assert np.array_equal(episode.observations[:-1], history.steps.obs[0, steps])
        assert np.array_equal(episode.observations[-1], history.steps.next_obs[0, steps][-1])
        assert np.array_equal(episode.actions, history.steps.action[0, steps])
        assert np.array_equal(episode.rewards, history.steps.reward[0, steps])
        assert episode.truncations.tolist() == [False] * (horizon - 1) + [True]
        assert not episode.terminations.any()
        assert {len(values) for values in episode.infos.values()} == {horizon + 1}


def test_the_environment_is_recovered_and_the_origin_named(tmp_path):
    made = exported(tmp_path, split="shift/slip/1", shards=(0,))
    dataset = minari.load_dataset(NAME)
    env = dataset.recover_environment()
    assert env.observation_space == dataset.observation_space
    assert env.action_space == dataset.action_space
    assert (env.unwrapped.family, env.unwrapped._trials.split) == (made.family, "shift/slip/1")
    about = dataset.storage.metadata
    assert about["algorithm_name"] == "psrl+random"
    assert about["metabridge"]["family_hash"] == made.family.hash
    for word in ("gridnavi", made.family.hash, "shift/slip/1"):
        assert word in about["description"]
    assert "author" not in about


def test_an_early_end_is_a_termination_and_a_late_one_a_time_out(tmp_path, monkeypatch):
    """A history of one step that arrives; then one of two steps that arrive, and of as many as an episode has."""
    made = Collection(make_family("point_nav"), ("random",), rows=2, folder=tmp_path, episodes=2)
    horizon = made.trial.horizon
    ends = [[1], [0, 1] + [0] * (horizon - 1) + [1]]
    points = [np.arange(2 * len(end), dtype=np.float32).reshape(-1, 2) / 100 for end in ends]
    parts = dict.fromkeys(("obs", "action", "asked", "best"), points)
    parts["next_obs"] = [np.concatenate([each[1:], each[:1]]) for each in points]
    columns = {"source": ["x", "x"], "length": [len(end) for end in ends], "end": ends, **parts}
    columns["reward"] = [list(map(float, range(len(end)))) for end in ends]
    rows = datasets.Dataset.from_dict(columns, features=made.features)
    monkeypatch.setattr(made, "shard", lambda number: rows)
    to_minari.export(made, [0], NAME)
    dataset = minari.load_dataset(NAME)
    assert dataset.total_steps == horizon + 3
    for episode, length in zip(dataset, (1, 2, horizon), strict=True):
        never = [False] * (length - 1)
        assert episode.terminations.tolist() == [*never, length < horizon]
        assert episode.truncations.tolist() == [*never, length == horizon]
    assert stored(f"minari:{NAME}", made.family).rows.to_dict() == rows.to_dict()


def test_a_family_that_is_not_registered_has_no_environment(tmp_path, monkeypatch):
    monkeypatch.delitem(gymnasium.registry, "metabridge/gridnavi-v0")
    exported(tmp_path, shards=(0,))
    assert minari.load_dataset(NAME).env_spec is None


def test_a_name_that_is_taken_or_malformed_is_refused(tmp_path):
    exported(tmp_path, shards=(0,))
    with pytest.raises(
        UserError, match=r"There is a Minari dataset tests/made-v0 already .*delete"
    ):
        to_minari.check_free(NAME)
    for name in ("noversion", "../up-v0", "a b-v0", "", "x-v0/y"):
        with pytest.raises(UserError, match=r"The name of a Minari dataset is NAME-v0"):
            to_minari.check_free(name)


def test_what_cannot_be_written_leaves_nothing(tmp_path, root, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(to_minari, "_episodes", full)
    with pytest.raises(StorageError, match=r"cannot be written \(No space.*MINARI_DATASETS_PATH"):
        exported(tmp_path, shards=(0,))
    monkeypatch.undo()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    storage = "minari.dataset._storages.hdf5_storage.HDF5Storage.update_episodes"
    monkeypatch.setattr(storage, full)
    with pytest.raises(StorageError):
        exported(tmp_path, shards=(0,))
    assert minari.list_local_datasets() == {}


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "minari", None)
    for what in (lambda: to_minari.check_free(NAME), lambda: minari_package.load(NAME)):
        with pytest.raises(UserError, match=r"pip install 'metabridge\[minari\]'"):
            what()


def test_a_dataset_of_another_family_or_version_is_refused(tmp_path, monkeypatch):
    exported(tmp_path, shards=(0,))
    with pytest.raises(UserError, match=r"histories on gridnavi \(.*, not on gridnavi:train=inner"):
        stored(f"minari:{NAME}", make_family("gridnavi:train=inner"))
    monkeypatch.setattr(data, "VERSION", 99)
    with pytest.raises(UserError, match=r"is of version \[3, 2\]; this program reads \[99, 2\]"):
        stored(f"minari:{NAME}", make_family("gridnavi"))


def test_a_dataset_that_is_copied_elsewhere_is_the_same(tmp_path, root, monkeypatch):
    made = exported(tmp_path, shards=(0,))
    name = stored(f"minari:{NAME}", made.family).name
    shutil.copytree(root, tmp_path / "other")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "other"))
    assert stored(f"minari:{NAME}", made.family).name == name
