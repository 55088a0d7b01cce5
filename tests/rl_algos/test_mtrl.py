"""Multi-task RL: who is told what, what tasks share, the contract, and that one policy learns many tasks."""

import numpy as np
import pytest
import torch
from torch.func import functional_call

from bridge import play, spaces
from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.maths.baselines import episode_advantages, standardised
from bridge.protocol import Clues
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.training.learner import backward
from bridge.training.workers import Workers
from rl_algos.concerns.interference import SURGERY
from rl_algos.concerns.return_weights import ReturnScaled
from rl_algos.mtrl import Config, MtrlLearner
from rl_algos.policies import MlpPolicy
from tests.bridge.toys import Corridor, Reach

SMALL = {"hidden": 8, "tasks_per_update": 6, "episodes_per_task": 3, "epochs": 2}


def learner(family="gridnavi:tasks=3", *, seed: int = 0, **settings) -> MtrlLearner:
    made = make_family(family) if isinstance(family, str) else family
    return MtrlLearner(made, Config(**(SMALL | settings)), seed=seed)


def weights(made: MtrlLearner) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in made.table.parameters()])


@pytest.mark.parametrize("split", ["train", "id"])
@pytest.mark.parametrize(
    "family",
    [
        "bandit:k=3,n=6,tasks=4",
        Corridor(tasks=3),
        Reach(tasks=3),
        pytest.param("gridnavi:tasks=3", marks=pytest.mark.slow),
        pytest.param("gridnavi", marks=pytest.mark.slow),
    ],
)
def test_keeps_the_contract(family, split):
    made = learner(family)
    made.update()
    for check in AGENT_CHECKS.values():
        check(made.agent(), made.family, split)


@pytest.mark.parametrize("shared", ["all", "trunk", "nothing"])
def test_equal_seeds_train_equally_and_a_restored_learner_goes_on_bit_for_bit(shared):
    one, two = learner(shared=shared), learner(shared=shared)
    lines = [one.update() for _ in range(3)]
    assert [two.update()] == lines[:1]
    three = learner(shared=shared)
    three.load_state_dict(two.state_dict())
    assert [three.update() for _ in range(2)] == lines[1:]
    assert torch.equal(weights(one), weights(three))
    assert learner(shared=shared, seed=1).update() != lines[0]


def test_every_step_is_counted():
    made = learner()
    made.update()
    assert made.env_steps == 6 * 3 * 15
    assert made.grad_steps == 2
    early = learner(Corridor(tasks=3))
    early.update()
    assert early.env_steps < 6 * 3 * 6


def test_no_global_generator_moves():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    learner().update()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


# --- clues ------------------------------------------------------------------------------------------------------------


def test_it_is_told_the_id_on_known_tasks_and_plays_an_unknown_one_elsewhere():
    made = learner()
    agent, rng = made.agent(), Rows.of(0, torch.arange(5))
    for split, expected in (("train", [0, 1, 2, 0, 1]), ("id", [3] * 5)):
        tasks = made.family.sample(split, torch.arange(5))
        told = play.clues(agent, made.family, split, tasks)
        assert agent.start(told, made.family.trial(split), rng).tolist() == expected


def test_a_one_hot_id_is_a_bias_of_the_first_layer():
    """The policy of task k equals one network that reads [observation, one-hot id]."""
    made = learner("tabular_mdp:n=2,tasks=3")
    agent, obs = made.agent(), torch.tensor([4, 7, 0, 2])
    memory = agent.start(
        Clues(task_id=torch.tensor([2, 0, 1, 3])), made.family.trial("train"), Rows.of(0, obs)
    )
    found = agent.act(memory, obs, Rows.of(0, obs), explore=True).logits
    policy, table = made.table.net, made.table.tables[0]
    assert isinstance(policy, MlpPolicy)
    wide = torch.nn.Linear(10 + 4, 8, bias=False)
    wide.weight.data = torch.cat([policy.body[0].weight, table.T], 1)
    one_hot = torch.nn.functional.one_hot
    x = wide(torch.cat([one_hot(obs, 10), one_hot(memory, 4)], -1).float())
    for layer in list(policy.body)[1:]:
        x = layer(x)
    torch.testing.assert_close(found, policy.head(x), atol=1e-5, rtol=0)


def test_ids_are_hidden_as_often_as_asked():
    played = [
        learner(tasks_per_update=400, hidden_ids=share)._play()[0] for share in (0.0, 0.25, 1.0)
    ]
    none, some, every = ((task == 3).float().mean().item() for task in played)
    assert (none, every) == (0, 1)
    assert abs(some - 0.25) < 4 * (0.25 * 0.75 / 400) ** 0.5


def test_without_known_tasks_every_id_is_hidden():
    made = learner("gridnavi")
    task, _ = made._play()
    assert made.table.known == 0
    assert task.tolist() == [0] * 6


# --- learning ---------------------------------------------------------------------------------------------------------


def test_specialists_learn_as_if_alone():
    """What task 0 learns does not depend on what the others are paid."""
    made, other = learner(shared="nothing"), learner(shared="nothing")
    task, episodes = made._play()
    changed = episodes._replace(
        advantage=torch.where((task == 0)[:, None, None], episodes.advantage, 5.0)
    )
    for one, played in ((made, episodes), (other, changed)):
        loss = one._losses(one.table.rows(task), played, 0.0)[0].mean()
        backward(loss, one.optimizer, one.learned, one.workers)
        one.table.clip_gradients("", 1.0)
        one.optimizer.step()
    for mine, theirs in zip(made.table.tables, other.table.tables, strict=True):
        assert torch.equal(mine[0], theirs[0])
        assert torch.equal(mine[3], theirs[3])  # nobody has played the unknown task
    assert not torch.equal(made.table.tables[0][1], other.table.tables[0][1])


def test_gradients_are_those_of_the_mean_of_the_tasks_losses():
    made = learner(epochs=1, entropy=0.0, max_grad_norm=1e9)
    parameters = list(made.table.parameters())
    task, episodes = made._play()
    losses, _ = made._losses(made.table.rows(task), episodes, 0.0)
    assert losses.shape == (6,)
    gradients = torch.autograd.grad(losses.mean(), parameters, retain_graph=True, allow_unused=True)
    made.update()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert (parameter.grad is gradient is None) or torch.equal(parameter.grad, gradient)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"epochs": 0}, "epochs"),
        ({"hidden_ids": 1.5}, "hidden_ids"),
        ({"entropy": -1.0}, "entropy"),
    ],
)
def test_impossible_settings_are_refused(settings, what):
    with pytest.raises(UserError, match=what):
        Config(**settings)


def test_one_policy_learns_three_tasks_and_needs_to_be_told_which():
    """Known ids earn 80% of the oracle's return; the same policy, untold, less by 10 standard errors."""
    made = learner(tasks_per_update=12, episodes_per_task=8, hidden=32, epochs=6)
    for i in range(60):
        made.update(i / 60)
    plan = Plan(split="train", trials=300)
    told = evaluate(made.agent(), made.family, plan)
    untold = evaluate(made.agent(), make_family("gridnavi"), plan)
    assert told.mean("trial_return") > 0.8 * 4 * 10.5
    assert told.mean("trial_return") - untold.mean("trial_return") > 10 * 15 / 300**0.5


# --- one update, written out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spent", [0.0, 0.25, 1.5])
def test_an_update_is_clipped_policy_gradient_task_by_task(spent):
    """Episodes end early, gradients are scaled down, and rate and bonus have fallen to what is left of the budget."""
    settings = {
        "shared": "trunk",
        "epochs": 3,
        "entropy": 0.5,
        "clip": 0.05,
        "lr": 0.01,
        "max_grad_norm": 0.02,
    }
    made, twin = (learner(Corridor(tasks=3), **settings) for _ in range(2))
    task, played = twin._play()
    assert not played.live.all()
    left, policy, parameters = max(0.0, 1 - spent), twin.table.net, list(twin.table.parameters())
    optimizer = torch.optim.Adam(parameters, lr=0.01 * left, eps=1e-5)
    for _ in range(3):
        losses, entropies = [], []
        for slot, number in enumerate(task.tolist()):
            own = {
                name: table[number]
                for name, table in zip(twin.table.names, twin.table.tables, strict=True)
            }
            out = functional_call(policy, own, (played.obs[slot],))
            log_prob, entropy = policy.actions.log_prob_and_entropy(out, played.action[slot])
            lived, gain = played.live[slot], played.advantage[slot]
            ratio = (log_prob - played.behaviour[slot]).exp()
            clipped = torch.minimum(ratio * gain, ratio.clamp(0.95, 1.05) * gain)
            losses.append(-(clipped + 0.5 * left * entropy)[lived].mean())
            entropies.append(entropy[lived])
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        assert torch.nn.utils.clip_grad_norm_(parameters, 0.02) > 0.02
        optimizer.step()
    metrics = made.update(spent)
    torch.testing.assert_close(weights(made), weights(twin), atol=1e-6, rtol=0)
    assert torch.equal(weights(made), weights(learner(Corridor(tasks=3), **settings))) == (
        left == 0
    )
    assert metrics["entropy"] == pytest.approx(torch.cat(entropies).mean().item(), abs=1e-5)


@pytest.mark.parametrize("baseline", ["time", "linear"])
def test_advantages_are_judged_as_configured_and_standardised_within_each_task(baseline):
    made = learner(Corridor(tasks=3), gamma=0.8, lam=0.3, baseline=baseline)
    _, played = made._play()
    obs = spaces.features(played.obs, made.family.observation)
    judged = episode_advantages(
        played.reward, obs, played.live, gamma=0.8, lam=0.3, baseline=baseline
    )
    assert torch.equal(played.advantage, standardised(judged, played.live, (1, 2)))


def test_two_workers_play_the_slots_that_one_plays():
    """The second update of two workers of six slots each: the second one of a single worker of twelve."""
    whole, *halves = (
        learner("bandit:k=3,n=6,tasks=50", tasks_per_update=n, hidden_ids=0.0) for n in (12, 6, 6)
    )
    for index, half in enumerate(halves):
        half.workers.count, half.workers.index = 2, index
    for made in (whole, *halves):
        made.updates = 1
    task, _ = whole._play()
    assert task.tolist() == list(range(12, 24))
    assert torch.equal(torch.cat([half._play()[0] for half in halves]), task)


def test_each_update_plays_further_slots():
    made = learner("bandit:k=3,n=6,tasks=50", hidden_ids=0.0)
    for first in (0, 6, 12):
        assert made._play()[0].tolist() == list(range(first, first + 6))
        made.update()


def test_specialists_start_differently_and_are_told_every_id():
    made = learner(shared="nothing", hidden_ids=1.0)
    for name, table in zip(made.table.names, made.table.tables, strict=True):
        if name.endswith("weight"):
            assert len({tuple(row.flatten().tolist()) for row in table}) == 4
    assert made._play()[0].tolist() == [0, 1, 2, 0, 1, 2]


def test_frozen_scoring_asks_for_the_mode():
    made, rng = learner(), Rows.of(0, torch.arange(200))
    agent, obs = (
        made.agent(),
        made.family.reset(made.family.sample("id", torch.arange(200)), rng)[1],
    )
    memory = agent.start(Clues(), made.family.trial("id"), rng)
    frozen, explored = (
        agent.act(memory, obs, rng, explore=explore).action for explore in (False, True)
    )
    assert len(frozen.unique()) == 1
    assert len(explored.unique()) > 1


@pytest.mark.parametrize(
    ("shared", "count"), [("all", 141 + 24), ("trunk", 141 + 159), ("nothing", 4 * 141)]
)
def test_the_card_counts_what_plays(shared, count):
    """A policy has 3 * 8 + 9 * 8 + 9 * 5 parameters; each further task has some of its own."""
    card = learner(shared=shared).agent().card
    assert card.params_total == card.params_trained == count


# --- how tasks' gradients become one ----------------------------------------------------------------------------------

NEEDED = {"static": {"weights": "1+2+3"}, "return_scaled": {"advantages": "raw"}}


@pytest.mark.parametrize("combine", ["equal", *NEEDED, "grad_norm", *SURGERY])
def test_every_combiner_trains_and_goes_on_bit_for_bit(combine):
    settings = {"combine": combine, **NEEDED.get(combine, {})}
    one, two = learner(**settings), learner(**settings)
    lines = [one.update() for _ in range(2)]
    assert 0 <= lines[0]["conflicts"] <= 1
    assert -1 <= lines[0]["cosine"] <= 1
    assert two.update() == lines[0]
    three = learner(**settings)
    three.load_state_dict(two.state_dict())
    assert three.update() == lines[1]
    assert torch.equal(weights(one), weights(three))


@pytest.mark.parametrize("combine", ["uncertainty", "dwa"])
def test_weights_from_errors_are_refused_since_a_policy_has_none(combine):
    with pytest.raises(UserError, match=f"no error: .* or mtrl_sac:combine={combine}"):
        learner(combine=combine)


def test_return_scaled_needs_advantages_in_units_of_reward():
    with pytest.raises(UserError, match="Add advantages=raw"):
        learner(combine="return_scaled")


def test_return_scaled_has_seen_what_was_played():
    made = learner(combine="return_scaled", advantages="raw")
    made.update()
    assert isinstance(made.combiner, ReturnScaled)
    assert made.combiner.count.any()


def test_equal_weights_learn_as_the_mean_does():
    one, two = learner(), learner(combine="equal")
    for _ in range(3):
        one.update(), two.update()
    assert torch.allclose(weights(one), weights(two), atol=1e-4)


def test_given_weights_weigh_the_tasks_gradients():
    """The gradient at equal weights is the mean of those at weights of nearly one task each."""
    gradients = {}
    for given in ("1+1+1", "1+1e-9+1e-9", "1e-9+1+1e-9", "1e-9+1e-9+1"):
        made = learner(combine="static", weights=given, epochs=1, hidden_ids=0.0, max_grad_norm=1e9)
        made.update()
        gradients[given] = made.table.parameter("head.weight").grad
    equal, *alone = gradients.values()
    assert torch.allclose(equal, torch.stack(alone).mean(0), atol=1e-6)
    assert not torch.allclose(alone[0], alone[1], rtol=0.1)


@pytest.mark.parametrize(
    ("family", "settings", "said"),
    [
        ("gridnavi", {"combine": "pcgrad"}, "no task is known.*tasks=N"),
        ("gridnavi:tasks=3", {"combine": "mgda", "shared": "nothing"}, "specialists share no"),
        ("gridnavi:tasks=3", {"combine": "static"}, "each of the tasks 0 to 2"),
        ("gridnavi:tasks=1", {"combine": "pcgrad"}, "on 1 known task at once"),
        ("gridnavi:tasks=3", {"combine": "pcgrad", "only": "2"}, "on 1 known task at once"),
        ("gridnavi:tasks=3", {"combine": "equal", "hidden_ids": 1.0}, "on 0 known tasks at once"),
    ],
)
def test_what_cannot_be_combined_is_refused(family, settings, said):
    with pytest.raises(UserError, match=said):
        learner(family, **settings)


def test_raw_advantages_are_in_units_of_the_tasks_rewards():
    """Standardised ones are those divided by their own standard deviation on each task."""
    raw = learner(advantages="raw")._play()[1]
    usual = learner()._play()[1]
    assert torch.equal(standardised(raw.advantage, raw.live, (1, 2)), usual.advantage)
    assert not torch.allclose(raw.advantage, usual.advantage)


def test_only_the_chosen_tasks_are_played_and_learned():
    """Biases that a task owns stay as they were unless it is chosen."""
    made = learner("gridnavi:tasks=4", only="3+1", hidden_ids=0.0)
    (owned,) = (made.table.parameter(name) for name in made.table.names)
    before = owned.detach().clone()
    made.update()
    moved = (owned != before).flatten(1).any(1)
    assert moved.tolist() == [False, True, False, True, False]


@pytest.mark.parametrize("combine", ["grad_norm", "return_scaled"])
def test_weights_that_are_learned_are_refused_in_several_processes(combine):
    """Each process would learn its own, and a restart would have those of the first."""
    two = Workers()
    two.count = 2
    config = Config(**SMALL, combine=combine, advantages="raw")
    with pytest.raises(UserError, match="--processes 1"):
        MtrlLearner(make_family("gridnavi:tasks=3"), config, seed=0, workers=two)
