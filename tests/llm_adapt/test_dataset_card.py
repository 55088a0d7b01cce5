"""The card of a collection: what it is, and metadata by which ``datasets`` reads all of its shards with their types."""

import os
import subprocess
import sys

import datasets
import pytest
from datasets import config
from huggingface_hub import DatasetCard

from bridge.tasks import family as make_family
from llm_adapt.data import Collection


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of ``datasets`` of one's own."""
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize(
    ("spec", "sources"),
    [
        ("gridnavi", ("psrl", "random")),
        ("point_nav", ("random",)),
        ("bandit:k=3,n=6", ("thompson", "random")),
    ],
)
def test_a_collection_is_loaded_by_its_folder_alone(spec, sources, cache, tmp_path):
    """Every row and value of it, with the types of the collection."""
    made = Collection(make_family(spec), sources, folder=tmp_path / "data", rows=4, episodes=1)
    rows = [row for shard in (0, 1) for row in made.shard(shard).to_list()]
    found = datasets.load_dataset(str(made.folder))
    assert list(found) == ["train"]
    assert found["train"].features == made.features
    assert found["train"].to_list() == rows
    assert found["train"][5]["source"] == sources[-1]
    streamed = datasets.load_dataset(str(made.folder), split="train", streaming=True)
    assert streamed.features == made.features
    assert list(streamed) == rows


def test_a_shard_that_is_made_later_is_loaded_too(cache, tmp_path):
    """With the names of files in the metadata, datasets 5.2 returns the first four rows again."""
    made = Collection(make_family("gridnavi"), ("random",), folder=tmp_path / "data", rows=4)
    made.shard(0)
    assert len(datasets.load_dataset(str(made.folder), split="train")) == 4
    made.shard(1)
    assert len(datasets.load_dataset(str(made.folder), split="train")) == 8


def test_a_fresh_interpreter_loads_it_offline_without_this_package(tmp_path):
    made = Collection(make_family("gridnavi"), ("random",), folder=tmp_path / "data", rows=4)
    made.shard(0)
    script = """
import sys, datasets
rows = datasets.load_dataset(sys.argv[1], split="train")
assert "llm_adapt" not in sys.modules
print(len(rows), sum(rows["length"]))
"""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    ran = subprocess.run(
        [sys.executable, "-c", script, str(made.folder)],
        env=os.environ | offline,
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout == "4 240\n"


def test_the_card_says_what_it_is(tmp_path):
    made = Collection(make_family("gridnavi"), ("psrl", "random"), folder=tmp_path, rows=4)
    made.shard(0)
    card = DatasetCard.load(made.folder / "README.md")
    assert card.data.pretty_name == "Learning histories on gridnavi"
    assert "meta-reinforcement-learning" in card.data.tags
    for word in ("gridnavi", made.family.hash, "psrl, random", "`best`", '"seed": 0'):
        assert word in card.text
