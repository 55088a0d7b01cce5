"""Collections of histories: the same whenever they are made, whole, and a dataset like any other."""

import json
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from bridge.cache_folder import cache_folder
from bridge.errors import UserError
from bridge.noise import TrialNoise
from bridge.references.q_learning import QLearning
from bridge.references.registry import reference
from bridge.tasks import family as make_family
from llm_adapt.data import Collection, read, stored
from llm_adapt.histories import play
from tests.permissions import forbidden, shared_path  # noqa: F401 - a fixture


def collection(folder, spec="gridnavi", sources=("psrl",), **options):
    return Collection(make_family(spec), sources, folder=folder, **({"rows": 4} | options))


@pytest.mark.parametrize(
    ("spec", "sources"),
    [
        ("gridnavi", ("psrl", "random")),
        ("bandit:k=3,n=6,arms=gaussian", ("thompson",)),
        ("point_nav", ("random",)),
    ],
)
def test_what_is_read_is_what_was_played(tmp_path, spec, sources):
    made = collection(tmp_path, spec, sources, episodes=2)
    found = read(made.shard(1), [3, 0, 1])
    played = play(
        [reference(name, made.family, "train") for name in sources],
        made.family,
        made.trial,
        TrialNoise.of("histories/0", torch.arange(4, 8)),
        "train",
    )
    wide = int(found.length.max())
    for mine, theirs in zip(
        (*found.steps, *found[1:3]), (*played.steps, *played[1:3]), strict=True
    ):
        assert torch.equal(mine, theirs[[3, 0, 1], :wide])
        assert mine.dtype == theirs.dtype
    assert torch.equal(found.length, played.length[[3, 0, 1]])


def test_a_shard_is_made_once(tmp_path):
    made = collection(tmp_path)
    made.shard(0)
    before = made.path(0).stat().st_mtime_ns
    collection(tmp_path).shard(0)
    assert made.path(0).stat().st_mtime_ns == before


def test_a_shard_does_not_depend_on_those_before_it(tmp_path):
    one, two = collection(tmp_path / "1"), collection(tmp_path / "2")
    one.shard(0)
    assert one.shard(1).to_dict() == two.shard(1).to_dict()
    assert one.shard(0).to_dict() != one.shard(1).to_dict()


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"split": "id"},
        {"rows": 5},
        {"episodes": 3},
        {"sources": ("random",)},
        {"spec": "gridnavi:train=inner"},
    ],
)
def test_another_definition_lies_elsewhere(tmp_path, other):
    assert collection(tmp_path, **other).folder != collection(tmp_path).folder
    assert collection(tmp_path, **other).folder == collection(tmp_path, **other).folder


def test_it_streams_and_resumes_as_any_dataset(tmp_path):
    """Shuffled by seed; a stream that is taken up again gives what was left."""
    made = collection(tmp_path)
    for shard in range(3):
        made.shard(shard)
    files = [str(made.path(shard)) for shard in range(3)]
    stream = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    stream = stream.shuffle(seed=7, buffer_size=4)
    rows = [row["reward"] for row in stream]
    assert len(rows) == 12
    again = iter(stream)
    for _ in range(5):
        next(again)
    assert [row["reward"] for row in again] == rows[5:]


def test_tasks_are_those_of_the_split(tmp_path):
    """Rewards negated, arms that pay 0 or 1: none is above 0; and who reads them is told which tasks they are of."""
    family, split = make_family("bandit:k=3,n=6"), "shift/reward_sign/4"
    made = collection(tmp_path, family.id, ("random",), split=split)
    for shard in (1, 0):
        made.shard(shard)
    shown = stored(made.folder, family)
    found = read(shown.rows, range(8))
    assert shown.split == split
    assert -1 == found.steps.reward.min() < found.steps.reward.max() == 0
    best = family.mean_rewards(family.sample(split, shown.tasks)).argmax(1)
    assert torch.equal(found.best, best[:, None].expand(8, 6))
    assert torch.equal(stored(made.path(1), family).tasks, shown.tasks[4:])


def test_a_broken_shard_is_refused_with_the_remedy(tmp_path):
    made = collection(tmp_path)
    made.folder.mkdir(parents=True)
    made.path(0).write_text("no parquet")
    with pytest.raises(UserError, match="Remove it"):
        made.shard(0)


def test_the_cache_can_be_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("METABRIDGE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert Collection(make_family("gridnavi"), ("psrl",)).folder.parent == tmp_path / "histories"


def test_sources_may_be_any_agents(tmp_path):
    family = make_family("gridnavi")
    slow, fast = (QLearning(family, "train", rate=rate) for rate in (0.01, 1.0))
    made = collection(
        tmp_path, sources=("slow", "fast"), agents={"slow": slow, "fast": fast}, rows=6
    )
    found = made.shard(0)
    assert found["source"] == ["slow", "fast"] * 3
    played = play(
        [slow, fast], family, made.trial, TrialNoise.of("histories/0", torch.arange(6)), "train"
    )
    assert torch.equal(read(found, range(6)).steps.action, played.steps.action)


def test_an_opened_collection_is_the_one_that_was_made_and_comes_to_an_end(tmp_path):
    made = collection(tmp_path, sources=("psrl", "random"), seed=3, episodes=2)
    rows = [made.shard(shard).to_dict() for shard in range(2)]
    found = Collection.opened(made.folder, make_family("gridnavi"))
    assert found.definition == made.definition
    assert found.trial == made.trial
    assert [found.shard(shard).to_dict() for shard in range(2)] == rows
    assert found.steps == 2 * 4 * 30
    with pytest.raises(UserError, match=r"has no shard-00002.parquet.*--shards 3"):
        found.shard(2)
    made.path(0).unlink()
    with pytest.raises(UserError, match=r"has no shard-00000.parquet"):
        Collection.opened(made.folder, make_family("gridnavi")).shard(0)


def test_what_is_no_collection_of_this_family_and_version_is_refused_with_the_remedy(tmp_path):
    made = collection(tmp_path)
    made.shard(0)
    remedy = "metabridge data SOURCES --family"
    with pytest.raises(UserError, match=f"holds no collection.*{remedy}"):
        Collection.opened(tmp_path, made.family)
    with pytest.raises(
        UserError, match=rf"histories on gridnavi \({made.family.hash}\), not on darkroom.*{remedy}"
    ):
        Collection.opened(made.folder, make_family("darkroom"))
    definition = made.folder / "definition.json"
    definition.write_text(definition.read_text().replace('"version": 3', '"version": 1'))
    with pytest.raises(
        UserError, match=rf"version \[1, 2\]; this program reads \[3, 2\].*{remedy}"
    ):
        Collection.opened(made.folder, made.family)


@pytest.mark.parametrize("text", ["[]", "{}", "no json", '{"version": 3, "suite_version": 2}'])
def test_a_damaged_definition_is_refused_with_the_remedy(tmp_path, text):
    made = collection(tmp_path)
    made.shard(0)
    (made.folder / "definition.json").write_text(text)
    with pytest.raises(UserError, match="metabridge data SOURCES --family"):
        stored(made.folder, made.family)


def test_damaged_and_foreign_shards_are_refused_with_the_remedy(tmp_path):
    """An empty file, one that lost rows, one that was never a shard; copies beside the shards are none of them."""
    made = collection(tmp_path)
    made.shard(0)
    shutil.copy(made.path(0), made.folder / "shard-00000 copy.parquet")
    shutil.copy(made.path(0), made.folder / "mine.parquet")
    assert len(stored(made.folder, made.family).rows) == 4
    for name in ("mine.parquet", "shard-00007.parquet"):
        with pytest.raises(UserError, match=rf"There is no {name} .* Make it: metabridge data"):
            stored(made.folder / name, made.family)
    parquet.write_table(parquet.read_table(made.path(0)).slice(1), made.path(1))
    with pytest.raises(
        UserError, match=r"shard-00001.parquet cannot be read \(3 rows, expected 4\). Remove it"
    ):
        stored(made.folder, made.family)
    made.path(1).write_bytes(b"")
    for place in (made.folder, made.path(0)):
        with pytest.raises(UserError, match=r"shard-00001.parquet cannot be read .* Remove it"):
            stored(place, made.family)


def test_a_collection_in_a_read_only_folder_is_read(shared_path):  # noqa: F811
    """Reading writes nothing, so that nothing but the shards themselves can be damaged."""
    made = collection(shared_path / "theirs")
    rows, written = made.shard(0).to_dict(), sorted(made.folder.rglob("*"))
    with forbidden(made.folder, 0o555):
        assert stored(made.folder, made.family).rows.to_dict() == rows
    assert sorted(made.folder.rglob("*")) == written
    assert {path.suffix for path in written} == {".parquet", ".json", ".md"}
    with forbidden(made.path(0)):
        for place in (made.folder, made.path(0)):
            with pytest.raises(
                UserError,
                match=r"shard-00000\.parquet cannot be read: Permission denied\. Ask its owner",
            ):
                stored(place, made.family)


@pytest.mark.parametrize(
    ("key", "value"), [("rows", "4"), ("sources", "psrl"), ("seed", 0.5), ("split", None)]
)
def test_a_definition_of_other_types_is_refused(key, value, tmp_path):
    made = collection(tmp_path)
    made.shard(0)
    definition = made.folder / "definition.json"
    definition.write_text(json.dumps(json.loads(definition.read_text()) | {key: value}))
    with pytest.raises(
        UserError,
        match=rf"definition\.json cannot be read: {key} should be .* Make another: metabridge",
    ):
        stored(made.folder, made.family)


def test_a_flipped_bit_of_a_shard_is_found_and_the_shard_named(tmp_path):
    """One bit of each of twenty bytes all over the file."""
    made = collection(tmp_path)
    made.shard(0)
    whole = made.path(0).read_bytes()
    for number, place in enumerate(np.linspace(0, len(whole) - 1, 20, dtype=int)):
        damaged = whole[:place] + bytes([whole[place] ^ 1 << number % 8]) + whole[place + 1 :]
        made.path(0).write_bytes(damaged)
        with pytest.raises(
            UserError,
            match=r"shard-00000\.parquet cannot be read .*Remove it; it will be made again",
        ):
            made.shard(0)
        with pytest.raises(
            UserError, match=r"shard-00000\.parquet cannot be read .*Remove it, and make it again"
        ):
            stored(made.folder, made.family)


def test_a_shard_whose_lengths_are_missing_or_no_integers_is_refused(tmp_path):
    made = collection(tmp_path)
    made.shard(0)
    rows = parquet.read_table(made.path(0))
    for other in (
        rows.drop_columns("length"),
        rows.set_column(1, "length", pa.array(["x"] * len(rows))),
    ):
        parquet.write_table(other, made.path(0))
        with pytest.raises(
            UserError, match=r"shard-00000\.parquet cannot be read \(expected a column of lengths"
        ):
            stored(made.folder, made.family)


def test_histories_are_the_same_whatever_the_folder_is_called(tmp_path):
    made, other = (collection(tmp_path / name) for name in ("plain", "length=3/source=random"))
    assert other.shard(0).to_dict() == made.shard(0).to_dict()
    assert stored(other.folder, other.family).rows.to_dict() == made.shard(0).to_dict()
