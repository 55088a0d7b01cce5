"""Model cards of run folders: what the run measured, where the Hub's own reader finds it, and no more."""

import json
import os
import subprocess
import sys

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.evaluation.stats import Interval, mean_interval
from bridge.tasks import family
from bridge.training.budget import Budget
from experiments import model_card, runs
from experiments.model_card import Measured
from tests.experiments.conftest import TINY, TRAINED, TRAINED_ON

KINDS = ["icl_rl", "lora_reward_mt", "rl2"]


def read(folder):
    return ModelCard.load(folder / "README.md")


@pytest.mark.parametrize("name", KINDS)
def test_the_metadata_of_a_run_are_what_was_measured_on_id_val(name, trained):
    folder, made = trained[name], family(TRAINED_ON)
    card = read(folder)
    trials = json.loads((folder / "config.json").read_text())["schedule"]["evaluation_trials"]
    played = evaluate(runs.load_agent(str(folder), made), made, Plan(split="id_val", trials=trials))
    n, total, squares = played.pooled("trial_return")
    expected = mean_interval(total, squares, int(n))
    model, (found,) = model_index_to_eval_results(card.data.to_dict()["model-index"])
    assert model == f"{name} on {TRAINED_ON}, training seed 4"
    assert found.metric_value == expected.mean
    assert found.metric_args == {
        "n": trials,
        "low": pytest.approx(expected.low),
        "high": pytest.approx(expected.high),
        "coverage": 0.95,
    }
    assert (found.dataset_type, found.dataset_split) == ("bandit", "id_val")
    assert found.dataset_revision == made.hash
    assert f"| id_val | {expected.mean:.4g} ±{expected.half:.2g} | {trials} |" in card.text


@pytest.mark.parametrize("name", KINDS)
def test_the_text_says_what_was_trained_and_how(name, trained):
    card = read(trained[name])
    agent = runs.load_agent(str(trained[name]), family(TRAINED_ON))
    assert card.text.startswith(f"# {name} on {TRAINED_ON}, training seed 4\n")
    assert f"{agent.card.params_trained:,} were trained" in card.text
    assert f"supervision: {agent.card.supervision} |" in card.text
    assert "| 400 environment steps, 1 gradient step |" in card.text
    command = card.text.split("    metabridge ")[1].split("\n\n")[0].replace("\\\n", "").split()
    assert command == (
        f"train {TRAINED[name]} --family {TRAINED_ON} --budget 400 --seed 4 --out RUN"
    ).split(" ")
    assert "one training seed" in card.text
    transformer = name != "rl2"
    assert card.data.library_name == ("transformers" if transformer else "metabridge")
    assert ("AutoModel.from_pretrained" in card.text) == transformer


def test_the_lines_of_the_card_open_the_policy_offline(trained):
    card = read(trained["icl_rl"])
    lines = card.text.split("```python\n")[1].split("```")[0]
    script = lines.replace("THIS_FOLDER", str(trained["icl_rl"]))
    ran = subprocess.run(
        [sys.executable, "-c", f"{script}\nprint(type(policy).__name__)"],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout == "TransformerPolicy\n"


def test_a_run_that_is_trained_further_has_a_new_card(tmp_path):
    def train(steps):
        run = runs.Run(
            method=f"icl_rl:{TINY}", family=TRAINED_ON, seed=0, budget=Budget(steps), out=tmp_path
        )
        assert runs.train_quietly(run, resume=runs.is_folder(tmp_path))
        return read(tmp_path)

    first, second = train(400.0), train(800.0)
    assert "budget was raised" not in first.text
    assert "budget was raised" in second.text
    assert "| 800 environment steps, 2 gradient steps |" in second.text


def test_a_run_without_an_evaluation_says_so(tmp_path):
    run = runs.Run(
        method=f"icl_rl:{TINY}",
        family=TRAINED_ON,
        seed=0,
        budget=Budget(400.0),
        out=tmp_path,
        evaluations=0,
    )
    assert runs.train_quietly(run, resume=False)
    card = read(tmp_path)
    assert card.data.eval_results is None
    assert "| none was evaluated | | |" in card.text


def test_results_on_several_splits_are_told_apart():
    about = {"method": "icl_rl", "seed": 2}
    measured = [
        Measured("id", Interval(1.5, 1.25, 1.75, 40, "trials")),
        Measured("shift/gap/4", Interval(-0.5, -1.0, 0.0, 30, "trials")),
    ]
    text = model_card.content(about, family(TRAINED_ON), measured, "# Title\n")
    card = ModelCard(text)
    assert card.text == "# Title\n"
    assert [
        (r.dataset_split, r.metric_value, r.metric_args["n"]) for r in card.data.eval_results
    ] == [
        ("id", 1.5, 40),
        ("shift/gap/4", -0.5, 30),
    ]
