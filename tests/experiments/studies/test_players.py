"""Players: their families, names and cells."""

from pathlib import Path

import pytest

from bridge.errors import UserError
from experiments.studies import players
from experiments.studies.players import Player


def test_a_variant_adds_to_the_family_of_the_recipe():
    assert Player("rl2", variant="wide=gap").family.id == "bandit:wide=gap,k=5,n=10"
    assert Player("rl2", on="gridnavi", variant="tasks=5").family.id == "gridnavi:tasks=5"
    assert Player("mtrl", on="gridnavi").family.id == "gridnavi"


def test_settings_replace_those_of_the_recipe(tmp_path):
    (cell,) = Player("rl2", settings="lr=0.1,hidden=8").cells(("id",), (0,), 10, tmp_path, 1.0)
    assert cell.training.method == "rl2:critic=task,hidden=8,lr=0.1"
    assert cell.method == "rl2:lr=0.1,hidden=8"


def test_shares_of_budgets_multiply():
    assert Player("rl2").recipe(0.25).steps == 1e6
    assert Player("rl2", share=0.5).recipe(0.25).steps == 5e5
    assert Player("rl2", variant="tasks=9").recipe(0.25).steps == 1e6


def test_seeds_that_ship_are_played_and_others_trained(tmp_path):
    cells = Player("rl2").cells(("id",), (2, 3), 10, tmp_path, 1.0)
    assert [cell.spec for cell in cells] == ["zoo:rl2/bandit/2", "rl2:critic=task,hidden=32"]
    assert [cell.training is None for cell in cells] == [True, False]
    assert {cell.method for cell in cells} == {"rl2"}


@pytest.mark.parametrize(
    ("tuned", "spec"),
    [
        ("lora_reward", "lora_reward:run=zoo:icl_rl/bandit/1"),
        ("lora_reward:inner_steps=2", "lora_reward:inner_steps=2,run=zoo:icl_rl/bandit/1"),
    ],
)
def test_a_method_at_test_names_the_run_that_it_tunes(tuned, spec, tmp_path):
    (cell,) = Player("icl_rl", tuned=tuned).cells(("id",), (1,), 10, tmp_path, 1.0)
    assert cell.spec == spec


def test_the_base_of_what_is_tuned_is_played_first_and_once(tmp_path):
    base, tuned = Player("icl_rl"), Player("icl_rl", tuned="lora_reward")
    needs = [(tuned, "shift/gap/1"), (base, "shift/gap/2"), (tuned, "id")]
    at_once, later = players.cells(needs, (3,), 10, tmp_path)
    (trained,) = (cell for cell in at_once if cell.training)
    assert [plan.split for plan in trained.plans] == ["id", "shift/gap/2"]
    assert [plan.split for plan in later[0].plans] == ["shift/gap/1", "id"]
    assert str(trained.training.out) in later[0].spec
    assert {cell.method for cell in at_once} == {"random", "oracle", "icl_rl"}


def test_runs_of_two_budgets_have_two_folders(tmp_path):
    whole, half = (
        Player("rl2", share=share).cells(("id",), (3,), 1, tmp_path, 1.0)[0].training.out
        for share in (1.0, 0.5)
    )
    assert half.name == f"{whole.name}--2e+06"


def test_a_method_without_a_recipe_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r"recipe of the zoo.*rl3/bandit.*rl2/bandit"):
        Player("rl3").cells(("id",), (0,), 1, tmp_path, 1.0)


def test_a_folder_whose_name_would_end_a_spec_is_refused_at_once():
    tuned = Player("icl_rl", tuned="lora_reward")
    with pytest.raises(UserError, match="written without commas; found results/a,b"):
        players.cells([(tuned, "id")], (0,), 1, Path("results/a,b"))
