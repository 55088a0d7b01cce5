"""Multi-task pretraining with fine-tuning at test: it learns as mtrl does, and adapts as MAML does."""

import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from rl_algos import mtrl
from rl_algos.mtrl_finetune import Config, MtrlFinetuneLearner

SMALL = {"hidden": 8, "tasks_per_update": 6, "episodes_per_task": 3, "epochs": 2}


def learner(family="gridnavi:tasks=3", **settings) -> MtrlFinetuneLearner:
    return MtrlFinetuneLearner(make_family(family), Config(**(SMALL | settings)), seed=0)


@pytest.mark.parametrize("family", ["bandit:k=3,n=6", "gridnavi:tasks=3"])
def test_keeps_the_contract(family):
    made = learner(family)
    made.update()
    agent = made.agent()
    for check in AGENT_CHECKS.values():
        check(agent.double(), made.family, tolerance=1e-9)


def test_it_learns_as_the_multi_task_policy_does():
    ours, theirs = (
        learner(),
        mtrl.MtrlLearner(make_family("gridnavi:tasks=3"), mtrl.Config(**SMALL), seed=0),
    )
    assert [ours.update(i / 3) for i in range(3)] == [theirs.update(i / 3) for i in range(3)]
    for one, other in zip(ours.table.parameters(), theirs.table.parameters(), strict=True):
        assert torch.equal(one, other)


def test_it_starts_from_the_policy_for_an_unknown_task():
    """Without step sizes it is the multi-task agent on new tasks, and training never sees what a trial does."""
    made = learner(inner_lr=0.0, shared="trunk")
    for _ in range(3):
        made.update()
    before = [p.detach().clone() for p in made.table.parameters()]
    plan = Plan(trials=50)
    untold = mtrl.MtrlLearner.agent(made)
    assert evaluate(made.agent(), made.family, plan).mean("trial_return") == pytest.approx(
        evaluate(untold, made.family, plan).mean("trial_return"), abs=1e-4
    )
    tuned = learner(inner_lr=3.0, shared="trunk")
    tuned.load_state_dict(made.state_dict())
    assert evaluate(tuned.agent(), made.family, plan).cost["grad_steps"][-1] == 1
    for p, was in zip(tuned.table.parameters(), before, strict=True):
        assert torch.equal(p, was)


def test_fine_tuning_helps_where_one_arm_pays():
    """From a policy for all bandits, two steps on one: later pulls earn more than the first by 5 standard errors."""
    made = learner("bandit:k=3,n=30", inner_lr=30.0, episodes_per_step=10, hidden=16)
    for i in range(5):
        made.update(i / 5)
    played = evaluate(made.agent(), made.family, Plan(trials=4_000))
    gain = played.mean("episode_return") - played.mean("episode_return", 0)
    assert gain > 5 * (2 * 0.25 / 4_000) ** 0.5


def test_specialists_are_refused():
    with pytest.raises(UserError, match="shared"):
        Config(shared="nothing")
