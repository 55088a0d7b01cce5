"""RL²: the contract, what PPO stands on, and that it learns."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.protocol import Clues
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.training.rollouts import Batch
from bridge.training.workers import Workers
from rl_algos.nets import CORES
from rl_algos.rl2 import Config, Rl2Learner
from tests.bridge.toys import Corridor, Reach

SMALL = {"hidden": 8, "steps_per_update": 240, "minibatches": 2, "epochs": 2}


def learner(spec: str = "bandit:k=3,n=6", *, seed: int = 0, **settings) -> Rl2Learner:
    family = Corridor(half=1) if spec == "corridor" else make_family(spec)
    return Rl2Learner(family, Config(**(SMALL | settings)), seed=seed)


def watched(made: Rl2Learner, verb: str, what) -> tuple[Batch, list]:
    """A batch, and ``what(arguments, result)`` of every call of one of the agent's verbs while it was played."""
    seen: list = []
    agent_class = type(made.agent())
    method = getattr(agent_class, verb)

    def spy(self, *args, **kwargs):
        result = method(self, *args, **kwargs)
        seen.append(what(args, result))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent_class, verb, spy)
        return made._play(), seen


@pytest.mark.parametrize(
    ("spec", "core"),
    [
        *itertools.product(["bandit:k=3,n=6", "corridor"], CORES),
        *(
            pytest.param(spec, core, marks=pytest.mark.slow)
            for spec, core in [
                *itertools.product(["gridnavi", "tabular_mdp:n=2"], CORES),
                ("point_nav", "gru"),
            ]
        ),
    ],
)
def test_keeps_the_contract(spec, core):
    made = learner(spec, core=core, episodes=2)
    made.update()
    for check in AGENT_CHECKS.values():
        check(made.agent(), made.family)


@pytest.mark.parametrize(("core", "policy_hidden"), [*((core, 0) for core in CORES), ("gru", 4)])
@pytest.mark.parametrize("spec", ["bandit:k=3,n=6", "gridnavi"])
def test_recomputed_policy_is_the_policy_that_played(spec, core, policy_hidden):
    """The first ratio of every update is 1: log-probabilities and entropies in play equal the recomputed ones."""
    made = learner(spec, core=core, policy_hidden=policy_hidden)
    batch, played = watched(made, "act", lambda _args, decision: decision.logits)
    policy = torch.distributions.Categorical(logits=torch.stack(played))
    evaluation = made._evaluate(batch)
    torch.testing.assert_close(
        evaluation.log_prob, policy.log_prob(batch.action), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(evaluation.entropy, policy.entropy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("core", CORES)
def test_recomputed_policy_is_the_policy_that_played_where_episodes_end_early(core):
    """So too for every live step of trials of different lengths; what dead rows would have done is nowhere."""
    made = learner("corridor", core=core, seed=1)
    batch, steps = watched(made, "observe", lambda args, _memory: args[1])
    _, logits = watched(made, "act", lambda _args, decision: decision.logits)
    log_prob = made._evaluate(batch).log_prob
    lengths = set()
    for b in range(made.trials):
        alive = [t for t, step in enumerate(steps) if step.live[b]]
        lengths.add(len(alive))
        assert batch.live[:, b].tolist() == [t < len(alive) for t in range(len(log_prob))]
        assert batch.action[: len(alive), b].tolist() == [steps[t].action[b].item() for t in alive]
        assert batch.reward[:, b].sum().item() == pytest.approx(
            sum(step.reward[b].item() for step in steps)
        )
        policy = torch.distributions.Categorical(logits=torch.stack([logits[t][b] for t in alive]))
        expected = policy.log_prob(batch.action[: len(alive), b])
        torch.testing.assert_close(log_prob[: len(alive), b], expected, atol=1e-5, rtol=0)
    assert len(lengths) > 3
    assert len(log_prob) == max(lengths) < len(steps) <= 18


@pytest.mark.parametrize("critic", ["history", "task"])
def test_advantages_run_over_the_live_steps_of_a_trial(critic):
    """Worked out trial by trial in plain loops, across early ends of episodes but not beyond the trial's last step."""
    made = learner("corridor", critic=critic, gamma=0.9, lam=0.8)
    batch, steps = watched(made, "observe", lambda args, _memory: args[1])
    tasks = made.family.sample(
        "train", Rows.of("train/rl2/0", torch.arange(made.trials)).at("task").bits() % 2**62
    )
    targets, _ = made._targets(batch, batch.live.sum().item() / made.trials)
    values = made.scale.to_return(made._evaluate(batch).score).tolist()
    found, wanted = [], []
    for b in range(made.trials):
        mean = [
            made.family.expected_reward(tasks, step)[b] if critic == "task" else step.reward[b]
            for step in steps
        ]
        paid = [mean[t].item() for t, step in enumerate(steps) if step.live[b]]
        after, running, mine = 0.0, 0.0, []
        for t in reversed(range(len(paid))):
            running = paid[t] + 0.9 * after - values[t][b] + 0.9 * 0.8 * running
            after = values[t][b]
            mine.insert(0, running)
        wanted += mine
        found += targets.advantage[: len(paid), b].tolist()
        raw = torch.tensor(mine) + torch.tensor([values[t][b] for t in range(len(paid))])
        score = (raw - made.scale.mean[: len(paid), 0]) / made.scale.square.sqrt()
        torch.testing.assert_close(targets.target[: len(paid), b], score, atol=1e-4, rtol=0)
    assert found == pytest.approx(
        ((np.array(wanted) - np.mean(wanted)) / np.std(wanted)).tolist(), abs=1e-4
    )


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("critic", ["history", "task"])
def test_more_padding_changes_nothing(core, critic):
    """Steps that never were, though they look like others, move no weight, no statistic and no metric."""
    one, two = (learner("corridor", core=core, critic=critic, seed=1) for _ in range(2))
    batch = two._play()
    longer = Batch(*(torch.cat([part, part[:1]]) for part in batch[:-1]), batch.task)
    for part in (longer.reward, longer.critic_reward, longer.live):
        part[-1] = 0
    expected = one.update()
    original = two._targets

    def with_rubbish_in_padding(*args):
        targets, explained = original(*args)
        behaviour = targets.behaviour.where(longer.live, -1000.0)
        return targets._replace(behaviour=behaviour), explained

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two, "_play", lambda: longer)
        patch.setattr(two, "_targets", with_rubbish_in_padding)
        assert two.update() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for a, b in zip(one.network.parameters(), two.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    torch.testing.assert_close(one.scale.state_dict(), two.scale.state_dict())


def test_the_critic_may_see_the_task_and_the_policy_never():
    made = learner(critic="task")
    batch = made._play()
    one, other = made._evaluate(batch), made._evaluate(batch._replace(task=batch.task.flip(0)))
    assert torch.equal(one.log_prob, other.log_prob)
    assert torch.equal(one.entropy, other.entropy)
    assert not torch.equal(one.score, other.score)


@pytest.mark.parametrize("spec", ["bandit:k=3,n=6", "corridor"])
def test_the_log_line_tells_how_far_the_policy_moved_and_what_the_critic_explains(spec):
    """One step on a whole batch has moved nothing yet when its losses are computed; two have moved it once."""
    one, two = (learner(spec, epochs=epochs, minibatches=1).update() for epochs in (1, 2))
    assert abs(one["approx_kl"]) < 1e-9 < two["approx_kl"]
    made = learner(spec)
    batch = made._play()
    targets, explained = made._targets(batch, batch.live.sum().item() / made.trials)
    score, target = (x[batch.live].detach() for x in (made._evaluate(batch).score, targets.target))
    residual = (target - score).var(correction=0)
    assert explained == pytest.approx(1 - (residual / target.var(correction=0)).item(), rel=1e-4)
    assert learner(spec).update()["explained_variance"] == explained


def test_every_step_is_counted():
    made = learner("gridnavi", steps_per_update=240)
    assert made.env_steps == 0
    made.update()
    assert made.env_steps == 4 * 60  # four trials of four episodes of fifteen steps


def test_every_live_step_is_counted_and_no_other():
    made = learner("corridor")
    _, steps = watched(made, "observe", lambda args, _memory: args[1].live)
    made.update()
    assert made.env_steps == torch.stack(steps).sum() < torch.stack(steps).numel()


def test_two_workers_take_the_step_that_one_takes_on_trials_of_any_length():
    """Each plays its half, of lengths of its own; averaged gradients are those of the whole batch."""
    settings = {"minibatches": 1, "epochs": 2, "steps_per_update": 144}
    one = learner("corridor", **settings)
    expected = one.update()
    meeting, parts = Barrier(2, timeout=60), {}

    class Half(Workers):
        def __init__(self, index):
            super().__init__()
            self.count, self.index = 2, index

        def mean(self, value):
            meeting.wait()
            parts[self.index] = value
            meeting.wait()
            return (parts[0] + parts[1]) / 2

    halves = [Rl2Learner(one.family, one.config, seed=0, workers=Half(i)) for i in range(2)]
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(halves[0].update)
        second = halves[1].update()
    first = future.result()
    for name in ("trial_return", "approx_kl"):
        assert (first[name] + second[name]) / 2 == pytest.approx(expected[name], rel=1e-4)
    for metrics in (first, second):
        assert metrics["explained_variance"] == pytest.approx(
            expected["explained_variance"], abs=1e-6
        )
    for half in halves:
        assert half.env_steps == one.env_steps
        torch.testing.assert_close(half.scale.state_dict(), one.scale.state_dict())
        for a, b in zip(half.network.parameters(), one.network.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=2e-4, rtol=0)


def test_trains_on_trials_cut_to_fewer_episodes_and_plays_whole_ones():
    made = learner("gridnavi", episodes=2)
    batch = made._play()
    assert len(batch.reward) == len(made.scale.mean) == 2 * 15
    assert batch.reward.shape[1] == 240 // 30
    assert batch.end.sum(0).tolist() == [2.0] * 8
    made.update()
    evaluate(made.agent(), made.family, Plan(trials=4))
    assert (
        learner("gridnavi", episodes=9).trial
        == learner("gridnavi").trial
        == made.family.trial("train")
    )


@pytest.mark.parametrize("spec", ["bandit:k=3,n=6", "corridor"])
def test_equal_seeds_train_equally_and_a_restored_learner_goes_on_bit_for_bit(spec):
    one, two = learner(spec), learner(spec)
    lines = [one.update() for _ in range(4)]
    assert [two.update() for _ in range(2)] == lines[:2]
    three = learner(spec)
    three.load_state_dict(two.state_dict())
    assert [three.update() for _ in range(2)] == lines[2:]
    for a, b in zip(one.network.parameters(), three.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert learner(spec, seed=1).update() != lines[0]


def test_no_global_generator_moves():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    learner().update()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.slow
def test_learns_to_explore_a_bandit():
    """After 300,000 steps the lower bound of the paired gain over random play is above half of Bayes's gain.

    On (k=3, n=6) Bayes-optimal play earns 3.70 and random play 3.
    """
    family = make_family("bandit:k=3,n=6")
    settings = Config(
        hidden=32, steps_per_update=6000, minibatches=8, lr=5e-3, max_grad_norm=5.0, critic="task"
    )
    made = Rl2Learner(family, settings, seed=0)
    while made.env_steps < 300_000:
        made.update(made.env_steps / 300_000)
    ours, random = (
        evaluate(a, family, Plan(trials=20_000)) for a in (made.agent(), Random(family))
    )
    gain = (ours.total["trial_return"][1] - random.total["trial_return"][1])[..., -1].sum(-1) / (
        20_000 / 64
    )
    low = gain.mean() - 3 * gain.std(ddof=1) / np.sqrt(len(gain))
    assert low > 0.35


def test_a_trial_starts_with_no_action_no_reward_and_an_end():
    made = learner()
    batch = made._play()
    start = made.agent().start(Clues(), made.trial, Rows.of(0, torch.arange(2)))
    token = made.network.token(batch.obs[0, :2], *start[1:])
    assert (
        token.tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]] * 2
    )  # observation, three actions, reward, end


def test_a_critic_that_knows_the_task_judges_by_mean_rewards():
    """Same trials, same noise: the reward that the policy reads stays the noisy one."""
    blind = learner("tabular_mdp:n=2")._play()
    informed = learner("tabular_mdp:n=2", critic="task")._play()
    assert torch.equal(blind.critic_reward, blind.reward)
    assert torch.equal(informed.reward, blind.reward)
    noise = informed.reward - informed.critic_reward
    assert abs(noise.mean().item()) < 5 / noise.numel() ** 0.5
    assert abs(noise.std().item() - 1) < 0.2


@pytest.mark.parametrize("core", CORES)
def test_continuous_actions_keep_the_contract(core):
    family = Reach()
    made = Rl2Learner(family, Config(**(SMALL | {"core": core})), seed=0)
    made.update()
    for check in AGENT_CHECKS.values():
        check(made.agent(), family)


@pytest.mark.slow
def test_learns_to_reach():
    """Where the target is hidden and only nearness is paid, the return rises by 10 standard errors."""
    made = Rl2Learner(Reach(), Config(hidden=32, steps_per_update=4000, gamma=0.9, lam=0.9), seed=0)
    first, last = [], []
    for i in range(60):
        got = made.update(i / 60)["trial_return"]
        (first if i < 5 else last if i >= 55 else []).append(got)
    assert (
        sum(last) / 5 - sum(first) / 5 > 10 * 5 / 2000**0.5
    )  # a trial's return has a standard deviation of about 5


@pytest.mark.slow
def test_learns_to_remember_the_side_that_paid():
    """Who searches a corridor anew in every episode needs 12 steps a trial or more (2 or 6 an episode, and slips).

    Who remembers needs 8 and slips: one search and two straight walks. A mean over 1,000 trials is within 0.3.
    """
    made = Rl2Learner(
        Corridor(), Config(hidden=32, steps_per_update=3600, minibatches=4, critic="task"), seed=0
    )
    returns, steps = [], []
    for i in range(25):
        before = made.env_steps
        returns.append(made.update(i / 25)["trial_return"])
        steps.append((made.env_steps - before) / made.trials)
    assert sum(steps[-5:]) / 5 < 10.5 < 13 < steps[0]
    assert sum(returns[-5:]) / 5 > 3.4 > 3 > returns[0]


def test_every_update_plays_tasks_of_its_own():
    made = learner()
    batches = []
    for _ in range(3):
        batches.append(made._play().task)
        made.update()
    assert made.updates == 3
    seen = torch.cat(batches)
    assert len(seen.unique(dim=0)) == len(seen)
