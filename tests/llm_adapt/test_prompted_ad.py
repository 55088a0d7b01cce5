import pytest
import torch

from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.protocol import Clues, Trial
from bridge.rng import Rows
from bridge.tasks import family as make_family
from llm_adapt import data
from llm_adapt.backbones import BACKBONES
from llm_adapt.histories import as_trials
from llm_adapt.language.models import load
from llm_adapt.language.reading import score
from llm_adapt.language.token_tree import Question, grow
from llm_adapt.prompted_ad import Config, PromptedAdLearner, SmolLm2, some_steps
from tests import tiny_language_model

BANDIT = make_family("bandit:k=3,n=6")
SMALL = {"rank": 4, "steps_per_update": 24, "batch": 12, "format": "terse", "lr": 3e-2}


def learner(tiny_model, family=BANDIT, **settings):
    return PromptedAdLearner(family, Config(model=str(tiny_model), **SMALL | settings), seed=0)


def test_an_update_counts_its_steps_and_moves_the_adapter_alone(tiny_model):
    made = learner(tiny_model)
    before = {name: value.clone() for name, value in made.policy.state_dict().items()}
    base = load(str(tiny_model)).fingerprint
    metrics = made.update(0.5)
    assert (made.env_steps, made.grad_steps) == (24, 2)
    assert metrics["loss"] > 0
    after = made.policy.state_dict()
    assert all("lora" in name or name == "base" for name in after)
    assert any(not torch.equal(before[name], after[name]) for name in after)
    assert load(str(tiny_model)).fingerprint == base


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_decoder_of_every_kind_is_trained(tmp_path, kind):
    made = learner(tiny_language_model.save(tmp_path, kind=kind))
    before = {name: value.clone() for name, value in made.policy.state_dict().items()}
    made.update(0.5)
    moved = [
        name for name, value in made.policy.state_dict().items() if (value != before[name]).any()
    ]
    assert moved
    assert evaluate(made.agent(), BANDIT, Plan(split="id", trials=2)).mean("regret") >= 0


def test_before_training_it_is_the_frozen_model(tiny_model):
    language = load(str(tiny_model))
    trees = grow([[Question((30, 31), ((7,), (8, 9)))]])
    torch.testing.assert_close(
        score(learner(tiny_model).policy.language.model, trees), score(language.model, trees)
    )


def test_the_loss_falls(tiny_model):
    made = learner(tiny_model, sources="ucb1")
    losses = [made.update(i / 30)["loss"] for i in range(30)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_the_loss_is_the_mean_over_actions_of_whole_labels(tiny_model):
    made = learner(tiny_model, format="digits", batch=6)
    pool, noise = made.collection.shard(0), Rows.of("test", torch.arange(2))
    loss, _ = made._loss_on(pool, noise)
    histories = data.drawn(pool, noise)
    agent = made.agent()
    buffer = as_trials(histories, Trial(6, 1))
    memory = agent.start(Clues(), Trial(6, 1), noise)
    outputs = agent.policy_outputs(memory, buffer)[:, :, 0]
    chosen = outputs.gather(-1, buffer.action[:, :, :1])
    torch.testing.assert_close(loss, -chosen.mean())


def test_some_steps_are_as_many_and_live():
    live = torch.ones(50, 4, 3, dtype=torch.bool)
    live[:, 1, 2] = False
    noise = Rows.of("test", torch.arange(50))
    chosen = some_steps(live, 5, noise)
    assert (chosen.sum((1, 2)) == 5).all()
    assert not chosen[:, 1, 2].any()
    assert chosen.any(0)[live[0]].all()
    assert some_steps(live, 0, noise) is live
    assert torch.equal(some_steps(live, 12, noise), live)


def test_a_saved_adapter_is_restored_and_refuses_another_base(tiny_model, tmp_path):
    made = learner(tiny_model)
    made.update(0.5)
    again = learner(tiny_model)
    again.load_agent_state(made.agent_state())
    trees = grow([[Question((30, 31), ((7,), (8, 9)))]])
    expected, found = (score(each.policy.language.model, trees) for each in (made, again))
    torch.testing.assert_close(found, expected)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(5)
        tiny_language_model.save(tmp_path / "other", initializer_range=0.2)
    with pytest.raises(UserError, match="trained on other weights"):
        learner(tmp_path / "other").load_agent_state(made.agent_state())


def test_too_long_a_trial_is_refused_before_training(tiny_model):
    with pytest.raises(UserError, match="needs a prompt of about"):
        learner(tiny_model, make_family("bandit:k=3,n=500"))


def test_smollm2_is_the_default_of_its_own_name():
    assert SmolLm2().model == "smollm2"
    with pytest.raises(UserError, match="model="):
        Config()
