"""A trial that is handed over: who plays, and what the second agent knows."""

import dataclasses

import numpy as np
import torch

from bridge.conformance import check_agent
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import play_trial, record_context
from bridge.protocol import Card, Clues
from bridge.references.registry import reference
from bridge.tasks import family as make_family
from bridge.test_time.agent import FineTuned
from bridge.test_time.handover import Handover
from bridge.test_time.settings import GradientSteps
from bridge.test_time.weights import PerTrialWeights
from bridge.training.learner import seeded_init
from rl_algos import rl2

BANDIT = make_family("bandit:k=3,n=8")


def handed(first="random", second="ucb1", shots=3):
    agents = (reference(name, BANDIT, "id") for name in (first, second))
    return Handover(*agents, shots, Card(method="x", supervision="none"))


def actions(agent, trials=40):
    played = evaluate(agent, BANDIT, Plan(trials=trials)).detail
    return torch.tensor(played["action"]).reshape(8, trials), torch.tensor(played["reward"])


def test_the_first_agent_plays_as_ever_until_it_hands_over():
    alone, _ = actions(reference("random", BANDIT, "id"))
    together, _ = actions(handed())
    assert torch.equal(together[:3], alone[:3])
    assert not torch.equal(together[3:], alone[3:])


def test_the_second_agent_has_observed_what_the_first_one_did():
    """Its first decision is that of UCB1 after a context of the first pulls."""
    ids, trial = torch.arange(60), BANDIT.trial("id")
    noise, tasks = TrialNoise.of(0, ids), BANDIT.sample("id", ids)
    random, ucb1 = (reference(name, BANDIT, "id") for name in ("random", "ucb1"))
    context = record_context(random, BANDIT, "id", tasks, noise, trial)
    memory = ucb1.start(Clues(), trial, noise.agent.at("start"))
    first = trial._replace(episodes=3)
    for played in play_trial(ucb1, BANDIT, tasks, memory, noise, first, context=context):
        memory = played.memory
    memory = ucb1.begin(memory, noise.agent.at(3, "begin"), episode=3)
    asked = ucb1.act(memory, context[0][0].obs, noise.agent.at(3, "act", 0), explore=True)
    pulls, _ = actions(handed(), trials=60)
    assert torch.equal(pulls[3], asked.action)
    assert len(asked.action.unique()) == 3


def test_an_agent_that_hands_over_to_itself_is_that_agent():
    """Also with a cache that one act computes and the other agent does not know."""
    with seeded_init(0):
        agent = rl2.Rl2Learner(BANDIT, rl2.Config(hidden=8), seed=0).agent()
        torch.nn.init.normal_(agent.network.policy.last.weight, std=0.5)
    twice = Handover(agent, agent, 3, agent.card)
    assert torch.equal(actions(agent)[0], actions(twice)[0])
    plan = Plan(trials=50, track="F")
    one, other = (evaluate(each, BANDIT, plan) for each in (agent, twice))
    for metric, sums in one.total.items():
        np.testing.assert_array_equal(sums, other.total[metric])


def test_gradient_steps_take_over_from_the_run_that_they_tune():
    """Until then it plays as the run does, although steps were taken; afterwards as they would have it."""
    with seeded_init(0):
        agent = rl2.Rl2Learner(BANDIT, rl2.Config(hidden=8), seed=0).agent()
    steps = GradientSteps(inner_steps=5, inner_lr=0.3, inner_every=2, inner_clip=9.0)
    tuned = FineTuned(agent, PerTrialWeights(agent.policy_modules), steps, agent.card)
    turns = Handover(agent, tuned, 4, agent.card)
    (alone, _), (together, _) = actions(agent, 200), actions(turns, 200)
    assert torch.equal(alone[:4], together[:4])
    assert not torch.equal(alone[4:], together[4:])
    counted = evaluate(turns, BANDIT, Plan(trials=20, track="F")).cost["grad_steps"]
    assert counted[-1] == 4 * 5
    assert turns.interval(BANDIT.trial("id")) == 2
    assert agent.card.decode_rule == turns.card.decode_rule


def test_the_agents_that_take_turns_stay_as_they_are():
    with seeded_init(0):
        agent = rl2.Rl2Learner(BANDIT, rl2.Config(hidden=8), seed=0).agent()
    turns = Handover(agent, reference("ucb1", BANDIT, "id"), 2, agent.card)
    turns.card = dataclasses.replace(turns.card, decode_rule="argmax")
    assert turns.first.card.decode_rule == "argmax"
    assert turns.second.card.decode_rule == "rule"
    assert agent.card.decode_rule == "sample"


def test_it_keeps_the_contract():
    check_agent(handed(), BANDIT)
    with seeded_init(0):
        learned = rl2.Rl2Learner(BANDIT, rl2.Config(hidden=8), seed=0).agent()
    check_agent(Handover(learned, reference("ucb1", BANDIT, "id"), 2, learned.card), BANDIT)
