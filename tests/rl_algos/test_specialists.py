"""Specialists: a policy for each test task, which earns what the oracle does where that is known."""

import pytest
import torch

from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.protocol import Clues, Trial
from bridge.references.registry import reference
from bridge.rng import Rows
from bridge.tasks import family as make_family
from rl_algos.specialists import Config, SpecialistsLearner

BANDIT = "bandit:k=3,n=10,tests=3"
NEGATED = "shift/reward_sign/4"


def learner(family: str = BANDIT, **settings) -> SpecialistsLearner:
    return SpecialistsLearner(make_family(family), Config(**settings), seed=0)


@pytest.mark.slow
def test_on_bandits_they_earn_what_the_oracle_does():
    made, updates = learner(splits=f"id+{NEGATED}"), 60
    for update in range(updates):
        made.update(update / updates)
    for split in ("id", NEGATED):
        agents = (
            made.agent(),
            reference("oracle", made.family, split),
            reference("random", made.family, split),
        )
        plan = Plan(split=split, trials=300)
        found, best, floor = (evaluate(a, made.family, plan).mean("trial_return") for a in agents)
        assert found > best - 0.05 * (best - floor)


@pytest.mark.parametrize("splits", ["id", f"id+{NEGATED}", f"id+{NEGATED}+shift/gap/1"])
@pytest.mark.parametrize("tests", [3, 25])
def test_every_batch_has_every_task_once(splits, tests):
    made = learner(f"bandit:k=3,n=10,tests={tests}", splits=splits, episodes_per_task=2)
    names = splits.split("+")
    for made.updates in range(2):
        task, episodes = made._play()
        assert task.tolist() == list(range(tests * len(names)))
        assert episodes.reward.shape == (tests * len(names), 2, 1)


def test_the_tasks_of_each_split_are_played():
    """By a policy that always takes the first arm: Bernoulli rewards, negated in the second half."""
    made = learner(splits=f"id+{NEGATED}", episodes_per_task=400)
    with torch.no_grad():
        for table in made.table.tables:
            table.zero_()
        made.table.parameter("head.bias")[:, 0] = 50.0
    _, episodes = made._play()
    means = made.family.sample("id", torch.arange(3)).params["means"][:, 0]
    found = episodes.reward.mean((1, 2))
    torch.testing.assert_close(found, torch.cat([means, -means]), atol=0.1, rtol=0)


def test_each_task_is_played_by_its_own_specialist_in_any_order():
    made = learner(splits=f"id+{NEGATED}")
    agent, rows = made.agent(), torch.tensor([2, 0, 1, 2])
    for split, first in (("id", 0), (NEGATED, 3)):
        tasks = made.family.sample(split, rows)
        memory = agent.start(Clues(task=tasks), Trial(10, 1), Rows.of(0, rows))
        assert torch.equal(memory, rows + first)


def test_what_is_observed_of_a_task_does_not_make_another_one():
    made = learner("gridnavi:tests=2")
    tasks = make_family("gridnavi:tests=2").sample("shift/obs_noise/4", torch.arange(2))
    agent, noise = made.agent(), Rows.of(0, tasks.index)
    assert agent.start(Clues(task=tasks), Trial(4, 15), noise).tolist() == [0, 1]


def test_they_are_a_reference_that_is_given_the_task():
    card = learner().agent().card
    assert (card.reference, card.clue, card.exact_reference) == (True, "task", "heuristic")


def test_a_task_without_a_specialist_is_refused():
    made = learner()
    with pytest.raises(
        UserError, match=r"task 0 that is played; there are some for id\. Train them"
    ):
        evaluate(made.agent(), made.family, Plan(split=NEGATED, trials=3))


@pytest.mark.parametrize(
    ("family", "splits", "expected"),
    [
        ("bandit:k=3,n=10", "id", r"--family bandit:k=3,n=10,tests=10"),
        (BANDIT, "id_val", "found id_val"),
        (BANDIT, "train", "found train"),
        (BANDIT, "id+shift/changes/1", "Tasks change during a trial"),
        ("gridnavi:tests=2", "shift/reward_delay/1", "as they do id"),
        (BANDIT, "shift/nothing/1", "axis of bandit"),
    ],
)
def test_splits_without_test_tasks_are_refused(family, splits, expected):
    with pytest.raises(UserError, match=expected):
        learner(family, splits=splits)
