"""``metabridge data``: who plays, what is written, and that a learner can be trained on it."""

import itertools
import re
import shutil
from pathlib import Path

import datasets
import minari
import pytest

from bridge.tasks import family as make_family
from llm_adapt.data import Collection
from tests.experiments.commands import run

SMALL = "hidden=8,layers=1,heads=2,window=8,batch=64,passes=1"


def test_histories_of_references_and_runs_are_written_and_trained_on(tmp_path, capsys):
    base = ["--family", "gridnavi:episodes=2"]
    trained, out = tmp_path / "rl2", str(tmp_path / "data")
    rl2 = "rl2:hidden=8,steps_per_update=300,minibatches=2"
    run("train", rl2, *base, "--budget", "300", "--out", str(trained), capsys=capsys)
    command = ["data", f"q_learning:rate=0.9+{trained}", *base, "--rows", "8", "--out", out]
    said, _ = run(*command, "--shards", "2", capsys=capsys)
    folder = next((tmp_path / "data").iterdir())
    assert said.strip().endswith(str(folder))
    made = datasets.load_dataset(
        "parquet", data_files=str(folder / "*.parquet"), split="train", streaming=True
    )
    names = [row["source"] for row in made]
    assert len(names) == 16
    assert names[0] == "q_learning:rate=0.9"
    assert re.fullmatch("rl2 [0-9a-f]{8}", names[1])
    before = (folder / "shard-00001.parquet").stat().st_mtime_ns
    run(*command, "--shards", "3", capsys=capsys)
    assert (folder / "shard-00001.parquet").stat().st_mtime_ns == before
    steps = 3 * 8 * 30
    imitator = tmp_path / "ad"
    run(
        "train",
        f"icl_ad:{SMALL},data={folder}",
        *base,
        "--budget",
        str(steps),
        "--out",
        str(imitator),
        capsys=capsys,
    )
    for shard in folder.glob("*.parquet"):
        shard.unlink()
    assert (
        "trial_return" in run("evaluate", str(imitator), *base, "--trials", "42", capsys=capsys)[0]
    )


def test_a_minari_dataset_is_made_tuned_on_and_trained_on(tmp_path, monkeypatch, capsys):
    """Two shards; a shard of icl_ad's has as many steps as it takes at a time."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    base, name = ["--family", "gridnavi:episodes=2"], "grids/psrl-v1"
    command = ["data", "psrl", *base, "--rows", "4", "--shards", "2", "--out", str(tmp_path / "d")]
    said, _ = run(*command, "--minari", name, capsys=capsys)
    assert f"Minari dataset: {name}" in said
    (folder,) = (tmp_path / "d").iterdir()
    dataset = minari.load_dataset(name)
    assert (dataset.total_episodes, dataset.total_steps) == (16, 240)
    runs = []
    for number, place in enumerate((f"minari:{name}", folder)):
        trained, tuned = (str(tmp_path / f"{what}{number}") for what in ("ad", "tuned"))
        ad = f"icl_ad:{SMALL},data={place}" + ",steps_per_update=120" * (number == 0)
        run("train", ad, *base, "--budget", "240", "--out", trained, capsys=capsys)
        demos = ["--demos", str(place), "--steps", "2", "--batch", "64", "--out", tuned]
        run("finetune", trained, *demos, capsys=capsys)
        runs.append(
            (Path(trained) / "model.safetensors", Path(tuned) / "adapter_model.safetensors")
        )
    assert [path.read_bytes() for path in runs[0]] == [path.read_bytes() for path in runs[1]]
    _, err = run(*command, "--minari", name, code=2, capsys=capsys)
    assert f"There is a Minari dataset {name} already" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["psrl", "--minari", "psrl"], "The name of a Minari dataset is NAME-v0"),
        (["psrl", "--rows", "-1"], "--rows must be 0 or more, found -1"),
        (["psrl", "--shards", "0"], "--shards must be 1 or more, found 0"),
        (["nobody"], "Unknown method or run 'nobody'"),
        (["random+"], "A source of 'random+' is empty"),
        ([""], "A source of '' is empty"),
        (["ucb1"], "does not play gridnavi"),
        (["oracle"], "is given the task"),
        (
            ["psrl", "--split", "shift/context_quality/2"],
            "shifts the context of track C, not tasks",
        ),
        (["psrl", "--split", "shift/nothing/2"], "Unknown axis"),
    ],
)
def test_what_cannot_be_played_is_refused(arguments, message, tmp_path, capsys):
    _, err = run(
        "data", *arguments, "--family", "gridnavi", "--out", str(tmp_path), code=2, capsys=capsys
    )
    assert message in err
    assert not list(tmp_path.rglob("*.json"))  # a later finetune --demos takes no empty collection


def test_a_stopped_run_is_a_source_by_its_weights_whatever_its_folder(tmp_path, capsys):
    base, folders = ["--family", "bandit:k=2,n=4"], [tmp_path / "one", tmp_path / "two"]
    rl2 = "rl2:hidden=8,steps_per_update=300,minibatches=2"
    run("train", rl2, *base, "--budget", "300", "--out", str(folders[0]), capsys=capsys)
    shutil.copytree(folders[0], folders[1])
    (folders[1] / "model.safetensors").unlink()  # written when a run is over
    out = tmp_path / "data"
    for folder in folders:
        run("data", f"random+{folder}+random", "--out", str(out), capsys=capsys)  # on its family
    made = list(out.iterdir())
    assert len(made) == 1
    run(
        "train",
        rl2,
        *base,
        "--budget",
        "300",
        "--seed",
        "1",
        "--out",
        str(tmp_path / "three"),
        capsys=capsys,
    )
    run("data", f"random+{tmp_path / 'three'}+random", *base, "--out", str(out), capsys=capsys)
    assert len(list(out.iterdir())) == 2
    rows = datasets.load_dataset(
        "parquet", data_files=str(made[0] / "*.parquet"), split="train", streaming=True
    )
    assert [row["source"] for row in itertools.islice(rows, 6)][2:4] == ["random", "random"]


def test_a_dataset_of_another_family_is_refused(tmp_path, capsys):
    run(
        "data",
        "ucb1",
        "--family",
        "bandit:k=2,n=3",
        "--rows",
        "2",
        "--out",
        str(tmp_path / "d"),
        capsys=capsys,
    )
    folder = next((tmp_path / "d").iterdir())
    assert Collection.opened(folder, make_family("bandit:k=2,n=3")).steps == 6
    flags = ["--family", "bandit:k=3,n=3", "--budget", "100", "--out", str(tmp_path / "r")]
    _, err = run("train", f"icl_dpt:data={folder}", *flags, code=2, capsys=capsys)
    assert "not on bandit:k=3,n=3" in err
