"""The zoo is made again: a run joins it whole, with its card, and one that is there stays."""

import pytest
from huggingface_hub import ModelCard

from bridge.errors import UserError
from experiments import zoo
from experiments.zoo import make
from experiments.zoo.recipes import Recipe

RECIPE = Recipe("bandit:k=2,n=3", "rl2:hidden=8,steps_per_update=300,minibatches=2", 600)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A zoo of one's own, and a recipe that takes a second."""
    monkeypatch.setattr(zoo, "RUNS", tmp_path / "zoo")
    monkeypatch.setattr(make, "RECIPES", (RECIPE,))
    monkeypatch.setattr(make, "TRIALS", {"bandit": 200})
    return tmp_path / "zoo"


def test_a_run_joins_the_zoo_with_its_card_and_stays(shelf, tmp_path):
    assert make.make(tmp_path / "work", "rl2/bandit", (3,)) == 0
    assert [entry.spec for entry in zoo.entries()] == ["zoo:rl2/bandit/3"]
    card = ModelCard.load(shelf / "rl2" / "bandit" / "3" / "README.md")
    assert card.text.startswith("# rl2 on bandit:k=2,n=3, training seed 3\n")
    assert "kept as float16" in card.text
    assert "--budget 600 --seed 3 --out RUN" in card.text
    (measured,) = card.data.eval_results
    assert measured.dataset_split == "id"
    assert measured.metric_args["n"] == 200
    assert f"{measured.metric_value:.4g} ±" in card.text
    before = {path: path.stat().st_mtime_ns for path in shelf.rglob("*")}
    assert make.make(tmp_path / "work", "rl2/*", (3,)) == 0
    assert {path: path.stat().st_mtime_ns for path in shelf.rglob("*")} == before


def test_a_run_that_was_stopped_before_its_card_is_not_in_the_zoo(shelf, tmp_path, monkeypatch):
    """The same command adds it."""

    def stop(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(make, "_card", stop)
        with pytest.raises(KeyboardInterrupt):
            make.make(tmp_path / "work", "rl2/bandit", (0,))
    assert zoo.entries() == []
    assert make.make(tmp_path / "work", "rl2/bandit", (0,)) == 0
    assert [entry.spec for entry in zoo.entries()] == ["zoo:rl2/bandit/0"]


def test_a_copy_that_earns_less_is_left_out(shelf, tmp_path, monkeypatch):
    original = make.Results.mean

    def mean(self, key):
        found = original(self, key)
        return found._replace(mean=found.mean - 1) if "float16" in key.method else found

    monkeypatch.setattr(make.Results, "mean", mean)
    with pytest.raises(UserError, match=r"zoo:rl2/bandit/0 earns .* in half precision .* left out"):
        make.make(tmp_path / "work", "rl2/bandit", (0,))
    assert zoo.entries() == []


def test_a_pattern_that_matches_no_recipe_is_refused(shelf, tmp_path):
    with pytest.raises(UserError, match=r"No recipe of the zoo matches 'pearl/\*'"):
        make.make(tmp_path / "work", "pearl/*", (0,))
