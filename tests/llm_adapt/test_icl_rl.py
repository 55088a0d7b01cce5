"""In-context RL from online trials: what is recomputed is what played, the objective, what is counted, learning."""

import numpy as np
import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.training.rollouts import Batch
from llm_adapt.icl_rl import Config, IclRlLearner
from llm_adapt.in_context import InContext
from tests.bridge.toys import Corridor

SMALL = {
    "hidden": 16,
    "layers": 1,
    "heads": 2,
    "window": 64,
    "steps_per_update": 240,
    "minibatches": 2,
    "epochs": 2,
}


def learner(spec="bandit:k=3,n=6", *, seed: int = 0, **settings) -> IclRlLearner:
    family = Corridor(half=1) if spec == "corridor" else make_family(spec)
    return IclRlLearner(family, Config(**(SMALL | settings)), seed=seed)


def weights(made: IclRlLearner) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in made.learned])


@pytest.mark.parametrize("spec", ["bandit:k=3,n=6", "corridor"])
def test_keeps_the_contract(spec):
    made = learner(spec)
    made.update()
    for check in AGENT_CHECKS.values():
        check(made.agent(), made.family)


@pytest.mark.parametrize("spec", ["tabular_mdp:n=2", "sparse_point"])
def test_trains_on_other_spaces(spec):
    made = learner(spec, episodes=2)
    assert np.isfinite(made.update()["loss_policy"])


@pytest.mark.parametrize("window", [64, 4])
@pytest.mark.parametrize("spec", ["gridnavi", "corridor"])
def test_recomputed_policy_is_the_policy_that_played(spec, window):
    """The first ratio of every update is 1, for trials of unlike lengths and for such as are longer than the window."""
    made = learner(spec, window=window)
    with torch.no_grad():
        torch.nn.init.normal_(made.policy.actor.weight)
    decisions = []
    act = InContext.act

    def spy(*args, **kwargs):
        decisions.append(act(*args, **kwargs))
        return decisions[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InContext, "act", spy)
        batch, alive = played_with_live_rows(made)
    log_prob = made._evaluate(batch).log_prob
    for b in range(made.trials):
        logits = torch.stack(
            [d.logits[b] for d, live in zip(decisions, alive, strict=True) if live[b]]
        )
        action = batch.action[: len(logits), b]
        expected = torch.distributions.Categorical(logits=logits).log_prob(action)
        torch.testing.assert_close(log_prob[: len(logits), b], expected, atol=1e-4, rtol=0)


def played_with_live_rows(made: IclRlLearner) -> tuple[Batch, list[torch.Tensor]]:
    """A batch, and which rows acted in each step that was played, idle ones included."""
    alive = []
    observe = InContext.observe

    def spy(agent, memory, step, carry=None):
        everyone = torch.ones(made.trials, dtype=torch.bool)
        alive.append(everyone if step.live is None else step.live)
        return observe(agent, memory, step, carry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InContext, "observe", spy)
        return made._play(), alive


def test_the_critic_may_see_the_task_and_the_policy_never():
    made = learner(critic="task")
    batch = made._play()
    one, other = made._evaluate(batch), made._evaluate(batch._replace(task=batch.task + 1))
    assert torch.equal(one.log_prob, other.log_prob)
    assert torch.equal(one.entropy, other.entropy)
    assert (one.score - other.score).abs().max() > 1e-4
    assert made.agent().card.supervision == "reward, task in critic"
    assert learner().agent().card.supervision == "reward"


@pytest.mark.parametrize("critic", ["history", "task"])
def test_equal_seeds_train_equally_and_a_restored_learner_goes_on_bit_for_bit(critic):
    one, two = learner(critic=critic), learner(critic=critic)
    lines = [one.update(0.1 * i) for i in range(3)]
    assert [two.update(0.0)] == lines[:1]
    three = learner(critic=critic)
    three.load_state_dict(two.state_dict())
    assert [three.update(0.1 * i) for i in (1, 2)] == lines[1:]
    assert torch.equal(weights(one), weights(three))
    assert learner(critic=critic, seed=1).update() != lines[0]


def test_every_step_is_counted():
    made = learner(steps_per_update=360, minibatches=3, epochs=2)
    made.update()
    assert made.env_steps == 360
    assert made.grad_steps == 6
    early = learner("corridor")
    early.update()
    assert early.env_steps < 240


def test_no_global_generator_moves():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    learner().update()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_the_step_size_rises_and_falls():
    made = learner(lr=1e-3, warm_up=0.1)
    rates = []
    for spent in (0.0, 0.05, 0.1, 0.55, 1.0):
        made.update(spent)
        rates.append(made.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-5, 5.1e-4, 9e-4, 4.5e-4, 0.0])


@pytest.mark.parametrize(("settings", "what"), [({"epochs": 0}, "epochs"), ({"lr": 0.0}, "lr")])
def test_impossible_settings_are_refused(settings, what):
    with pytest.raises(UserError, match=what):
        Config(**settings)


def test_it_learns_to_tell_two_arms_apart():
    """After 30,000 pulls it earns more than chance (2.5 of 5) by 8 standard errors on new bandits."""
    made = learner(
        "bandit:k=2,n=5,arms=dependent_easy",
        hidden=32,
        steps_per_update=1_000,
        lr=3e-3,
        epochs=4,
        critic="task",
    )
    while made.env_steps < 30_000:
        made.update(made.env_steps / 30_000)
    found = evaluate(made.agent(), made.family, Plan(trials=2_000))
    assert found.mean("trial_return") > 2.5 + 8 * (5 * 0.25 / 2_000) ** 0.5


def test_every_update_plays_tasks_of_its_own():
    made = learner()
    batches = []
    for _ in range(3):
        batches.append(made._play().task)
        made.update()
    assert made.updates == 3
    seen = torch.cat(batches)
    assert len(seen.unique(dim=0)) == len(seen)
