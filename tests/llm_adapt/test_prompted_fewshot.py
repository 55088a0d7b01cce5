import dataclasses

import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import play_trial
from bridge.protocol import Clues, Trial
from bridge.tasks import family as make_family
from llm_adapt.base_policy import fingerprint
from llm_adapt.prompted_fewshot import Config

BANDIT = make_family("bandit:k=3,n=6")


def few_shot(tiny_model, **settings):
    settings = {"inner_steps": 2, "rank": 2, "inner_every": 2} | settings
    return Config(model=str(tiny_model), **settings).agent(BANDIT, "few")


@pytest.mark.parametrize("rule", AGENT_CHECKS)
def test_keeps_the_contract(tiny_model, rule):
    AGENT_CHECKS[rule](few_shot(tiny_model), BANDIT, "id", tolerance=1e-3)


def test_steps_raise_the_likelihood_of_what_paid(tiny_model):
    """An arm that pays 1 and two that pay nothing: after steps the first is likelier."""
    agent = few_shot(tiny_model, inner_steps=20, inner_lr=1e-2, inner_every=3)
    rows = torch.arange(8)
    noise, trial = TrialNoise.of("test", rows), Trial(6, 1)
    tasks = BANDIT.sample("id", rows)
    tasks.params["means"][:] = torch.tensor([1.0, 0.0, 0.0])
    before = agent.start(Clues(), trial, noise.agent)
    obs = torch.zeros(8, dtype=torch.int64)
    odds = [agent.act(before, obs, noise.agent, explore=False).logits.softmax(-1)[:, 0].mean()]
    *_, played = play_trial(agent, BANDIT, tasks, before, noise, trial)
    memory = agent.adapt(played.memory, noise.agent, episode=5, last=True)
    afresh = agent.afresh(memory, Clues(), trial, noise.agent)
    odds.append(agent.act(afresh, obs, noise.agent, explore=False).logits.softmax(-1)[:, 0].mean())
    assert odds[1] > odds[0] + 0.05


def test_the_model_itself_never_changes(tiny_model):
    agent = few_shot(tiny_model)
    before = fingerprint(agent.agent.network)
    evaluate(agent, BANDIT, Plan(split="id", trials=3))
    assert fingerprint(agent.agent.network) == before


def test_no_steps_are_the_model_as_it_is(tiny_model):
    plan = Plan(split="id", trials=5)
    agent = few_shot(tiny_model, inner_steps=0)
    frozen = agent.agent
    frozen.card = dataclasses.replace(frozen.card, method="frozen")
    one, other = (evaluate(each, BANDIT, plan).total["trial_return"] for each in (agent, frozen))
    assert one[1].tolist() == other[1].tolist()


def test_a_language_model_has_no_embedding_of_a_policy(tiny_model):
    with pytest.raises(UserError, match="Leave embedding out"):
        few_shot(tiny_model, embedding=True)
