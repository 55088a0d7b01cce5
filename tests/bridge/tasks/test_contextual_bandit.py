"""Contextual bandits: exact answers of the dials first, then the law of what is drawn."""

import pytest
import torch

from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.protocol import Trial
from bridge.references.registry import reference
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.tasks.contextual_bandit import ContextualBandit


def best(tasks: int = 6, *, own: float = 0.0, opposed: float = 0.0) -> torch.Tensor:
    """The best arms of the first tasks, ``[tasks, contexts]``."""
    return (
        ContextualBandit(own=own, opposed=opposed)
        .sample("train", torch.arange(tasks))
        .params["best"]
    )


def test_without_dials_all_tasks_are_one() -> None:
    table = best()

    assert (table == table[0]).all()
    assert len(table[0].unique()) > 1


@pytest.mark.parametrize(
    ("share", "opposed"),
    [
        (0.5, [False, True, False, True, False, True]),
        (0.25, [False, False, False, True, False, False]),
        (1.0, [True] * 6),
    ],
)
def test_opposed_tasks_are_spread_evenly_and_pull_the_opposite_arm(share, opposed) -> None:
    common, table = best(), best(opposed=share)

    assert ((table - common) % 4 == torch.tensor(opposed)[:, None] * 2).all()


def test_own_contexts_have_a_best_arm_of_the_task_s_own() -> None:
    common, table = best(tasks=2000), best(tasks=2000, own=0.5)

    # a draw of its own is another arm than the common one in 3 of 4 cases
    assert (table != common).double().mean().item() == pytest.approx(0.5 * 0.75, abs=0.015)
    assert (best(own=1.0)[0] != best(own=1.0)[1]).any()


def test_the_dials_do_not_move_one_another() -> None:
    own, both = best(own=0.5), best(own=0.5, opposed=1.0)

    assert ((both - own) % 4 == 2).all()


def test_every_other_task_pays_more() -> None:
    family = ContextualBandit(decades=2.0)
    tasks = family.sample("train", torch.arange(4))

    assert family.optimal_return(tasks, Trial(1, 10)).tolist() == pytest.approx([9, 900, 9, 900])
    assert family.mean_rewards(tasks).amin((1, 2)).tolist() == pytest.approx([0.1, 10, 0.1, 10])


def test_a_step_pays_by_the_chance_of_its_arm() -> None:
    family = ContextualBandit(decades=1.0)
    tasks = family.sample("id", torch.ones(4000, dtype=torch.int64))
    noise = Rows.of(0, torch.arange(4000))
    state, obs = family.reset(tasks, noise)
    right = tasks.params["best"].gather(1, obs[:, None])[:, 0]

    for arm, chance in ((right, 0.9), ((right + 1) % 4, 0.1)):
        outcome = family.step(tasks, state, arm, noise)
        assert set(outcome.reward.tolist()) == {0.0, 10.0}
        assert (outcome.reward > 0).double().mean().item() == pytest.approx(chance, abs=0.02)
        assert outcome.obs.bincount(minlength=8).min() > 400  # of 500
        assert outcome.terminated is None


def test_the_oracle_earns_the_optimal_return() -> None:
    family = make_family("contextual_bandit:own=0.5,opposed=0.5,tasks=6")

    agent = reference("oracle", family, "train")
    found = evaluate(agent, family, Plan(split="train", trials=2000))

    assert found.mean("trial_return") == pytest.approx(4 * 9.0, abs=0.2)
    assert found.mean("success") == 1.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arms": 3}, "even number of arms"),
        ({"contexts": 1}, "found contexts=1"),
        ({"decades": 7.0}, "at most 10\\^6"),
    ],
)
def test_impossible_dials_are_refused(fields, message) -> None:
    with pytest.raises(UserError, match=message):
        ContextualBandit(**fields)
