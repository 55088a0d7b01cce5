"""Gradient steps in a trial: by whom, on what, and that nothing else changes."""

import copy
import dataclasses
from typing import Any

import pytest
import torch

from bridge import memory as tree
from bridge.conformance import AGENT_CHECKS
from bridge.errors import ContractError, UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import play_episode, play_trial
from bridge.protocol import Card, Clues, Step, Trial
from bridge.references.random import Random
from bridge.references.registry import reference
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from bridge.test_time.agent import FineTuned, Memory, continue_training
from bridge.test_time.objective import mean_gain
from bridge.test_time.settings import GradientSteps
from bridge.test_time.weights import PerTrialWeights
from bridge.training.learner import seeded_init
from llm_adapt.in_context import InContext
from llm_adapt.multi_task import OneEpisode
from llm_adapt.policy import build
from rl_algos import inner_loop, maml, pearl, per_task, rl2
from rl_algos.policies import MlpPolicy
from tests.bridge.toys import Corridor

STEPS = GradientSteps(inner_steps=3, inner_lr=0.03, inner_every=2)


def in_context(family: TaskFamily, kind: type[InContext] = InContext, seed: int = 0) -> InContext:
    with seeded_init(seed):
        policy = build(
            "llama", family.observation, family.action, hidden=16, layers=2, heads=2, positions=64
        )
        torch.nn.init.normal_(policy.actor.weight, std=0.3)
    return kind(policy.eval(), Card(method="icl"))


def recurrent(family: TaskFamily, core: str = "gru") -> rl2.Rl2:
    made = rl2.Rl2Learner(family, rl2.Config(hidden=8, core=core), seed=0)
    with seeded_init(1):
        torch.nn.init.normal_(made.network.policy.last.weight, std=0.5)
    return made.agent()


def bayesian(family: TaskFamily) -> pearl.Pearl:
    config = pearl.Config(
        hidden=8, encoder_hidden=8, latent=2, train_tasks=4, collect_tasks=2, episodes=2
    )
    return pearl.PearlLearner(family, config, seed=0).agent()


class Plain(inner_loop.GradientAgent):
    """An MLP that does not adapt by itself, and can be tuned."""

    policy_modules = ("",)

    def __init__(self, family: TaskFamily) -> None:
        with seeded_init(0):
            policy = MlpPolicy(family.observation, family.action, 8)
            torch.nn.init.normal_(policy.head.weight)
        super().__init__(
            inner_loop.InnerLoop(policy, inner_loop.InnerConfig()), Card(method="plain")
        )
        self.network = policy
        self.observation, self.action = family.observation, family.action

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Any:
        return torch.zeros(len(rng))

    def begin(self, memory: Any, rng: Rows, *, episode: int) -> Any:
        return memory

    def act(self, memory: Any, obs: Any, rng: Rows, *, explore: bool) -> Any:
        return self.actions.decide(self.network(obs), rng if explore else None)

    def observe(self, memory: Any, step: Any, carry: Any = None) -> Any:
        return memory

    def adapt(self, memory: Any, rng: Rows, *, episode: int, last: bool) -> Any:
        return memory

    def policy_outputs(self, memory: Any, buffer: Any) -> Any:
        return self.network(buffer.obs)


def play(agent: Any, family: TaskFamily, rows: int, episodes: int) -> Memory:
    """The memory after some episodes, with adaptation after each but the last."""
    noise, tasks = TrialNoise.of(0, torch.arange(rows)), family.sample("id", torch.arange(rows))
    trial = family.trial("id")
    memory = agent.start(Clues(), trial, noise.agent)
    cut = trial._replace(episodes=episodes)
    return [played.memory for played in play_trial(agent, family, tasks, memory, noise, cut)][-1]


MAKERS = {
    "in_context": in_context,
    "one_episode": lambda family: in_context(family, OneEpisode),
    **{
        core: (lambda family, core=core: recurrent(family, core))
        for core in ("gru", "lstm", "linear")
    },
    "pearl": bayesian,
}


@pytest.mark.parametrize(
    "family", [make_family("gridnavi"), Corridor(half=1)], ids=lambda f: f.name
)
@pytest.mark.parametrize("name", MAKERS)
@torch.no_grad()
def test_recomputed_outputs_are_those_that_played(name, family):
    """Also after gradient steps: then its memory is that of the tuned network, and it goes on from there."""
    agent: Any = MAKERS[name](family)
    tuned = FineTuned(agent, PerTrialWeights(), STEPS, Card(method="x"))
    outputs: list[torch.Tensor] = []
    act = tuned.act
    tuned.act = lambda *args, **options: (
        outputs.append(act(*args, **options).logits) or act(*args, **options)
    )  # type: ignore[method-assign]
    last = 3
    memory = play(tuned, family, 4, last)
    buffer = memory.buffer
    with tuned.trial_weights.on(agent.network, memory.own):
        again = agent.policy_outputs(memory.agent, buffer)
    here = buffer.live[:, last - 1]
    longest = int(here.any(0).sum())
    played = torch.stack(outputs[-longest:], 1)
    assert memory.grad_steps.tolist() == [3] * 4
    torch.testing.assert_close(
        again[:, last - 1, :longest][here[:, :longest]],
        played[here[:, :longest]],
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", MAKERS)
def test_without_gradient_steps_it_plays_as_the_agent(name):
    family = make_family("gridnavi:episodes=3")
    agent: Any = MAKERS[name](family)
    plan = Plan(trials=8)
    plain = evaluate(agent, family, plan)
    tuned = FineTuned(
        agent, PerTrialWeights(), dataclasses.replace(STEPS, inner_steps=0), Card(method="x")
    )
    played = evaluate(tuned, family, plan)
    assert (played.total["episode_return"] == plain.total["episode_return"]).all()
    assert played.cost["grad_steps"].max() == 0


@pytest.mark.parametrize("signal", ["reward", pytest.param("demos", marks=pytest.mark.slow)])
def test_keeps_the_contract(signal):
    family = Corridor()
    with seeded_init(0):
        policy = build(
            "llama", family.observation, family.action, hidden=8, layers=1, heads=2, positions=64
        ).double()
    agent, steps = InContext(policy, Card(method="icl")), dataclasses.replace(STEPS, inner_steps=1)
    tuned = FineTuned(agent, PerTrialWeights(("actor", "embed")), steps, Card(method="x"), signal)
    for check in AGENT_CHECKS.values():
        check(tuned, family)


def test_the_first_gradient_is_mamls():
    """The same episodes, judged alike: the surrogate's gradient in units of its spread."""
    family = make_family("tabular_mdp:n=4")
    agent = Plain(family).double()
    tuned = FineTuned(agent, PerTrialWeights(), GradientSteps(inner_steps=1), Card(method="x"))
    memory = play(tuned, family, 5, 2)
    buffer = memory.buffer
    part = [x[:, :2].double() if x.is_floating_point() else x[:, :2] for x in buffer]
    loop = inner_loop.InnerLoop(agent.network, inner_loop.InnerConfig()).double()
    nothing = torch.zeros_like(part[2])
    episodes = loop.with_advantages(
        per_task.Episodes(part[0], part[1], part[2], part[6], nothing, nothing)
    )
    mamls = loop.gradient(loop.start(5), episodes, "fomaml")
    own = {name: leaf.requires_grad_() for name, leaf in memory.own.items()}
    with tuned.trial_weights.on(agent.network, own):
        log_prob, _ = agent.actions.log_prob_and_entropy(
            agent.policy_outputs(None, buffer), buffer.action
        )
    gain = mean_gain(
        log_prob, log_prob.detach(), tuned.step_weights(buffer).double(), buffer.live, 0.2
    )
    ours = dict(zip(own, torch.autograd.grad(gain.sum(), list(own.values())), strict=True))
    for name, gradient in mamls.items():
        assert gradient.abs().max() > 1e-3
        torch.testing.assert_close(ours[name], gradient, atol=2e-5, rtol=1e-4)


def test_trials_are_tuned_apart_and_the_network_stays_as_it_is():
    family = make_family("bandit:k=3,n=6")
    agent = in_context(family).double()
    before = {name: leaf.clone() for name, leaf in agent.state_dict().items()}
    tuned = FineTuned(agent, PerTrialWeights(), STEPS, Card(method="x"))
    both, few = (play(tuned, family, rows, 4) for rows in (6, 3))
    for many, one in zip(tree.leaves(both.own), tree.leaves(few.own), strict=True):
        torch.testing.assert_close(many[:3], one, atol=1e-9, rtol=0)
    moved = torch.stack([leaf.flatten(1).std(0).max() for leaf in tree.leaves(both.own)])
    assert moved.max() > 1e-3
    assert all(torch.equal(leaf, before[name]) for name, leaf in agent.state_dict().items())


def test_it_makes_no_difference_how_many_are_tuned_at_once(monkeypatch):
    family = make_family("bandit:k=3,n=6")
    tuned = FineTuned(in_context(family).double(), PerTrialWeights(), STEPS, Card(method="x"))
    whole = play(tuned, family, 5, 5)
    monkeypatch.setattr("bridge.test_time.agent._STEPS_AT_ONCE", 8)
    parts = play(tuned, family, 5, 5)
    for one, other in zip(tree.leaves(whole.own), tree.leaves(parts.own), strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=0)


@pytest.mark.slow
def test_reward_learns_in_a_trial_and_cloning_becomes_who_was_shown():
    """Against the agent alone, on the same tasks under the same noise: by more than four standard errors."""
    family = make_family("bandit:k=3,n=20")
    agent = in_context(family)
    plan = Plan(trials=600, track="F", shots=16)
    steps = GradientSteps(inner_steps=20, inner_lr=0.1, inner_every=8, inner_clip=2.0)
    head = FineTuned(agent, PerTrialWeights(("actor",)), steps, Card(method="x"))
    alone, tuned = (evaluate(a, family, plan) for a in (agent, head))
    assert tuned.mean("episode_return") > alone.mean("episode_return") + 4 * (0.5 / 600) ** 0.5
    assert tuned.mean("episode_return", 0) == alone.mean("episode_return", 0)
    grid = make_family("gridnavi")
    agent = in_context(grid, OneEpisode)
    plan, oracle = Plan(trials=30, track="C", shots=1), reference("oracle", grid, "id")
    cloning = FineTuned(
        agent,
        PerTrialWeights(),
        GradientSteps(inner_steps=30, inner_lr=0.01),
        Card(method="x"),
        "demos",
    )
    cloned = evaluate(cloning, grid, plan, behaviour=oracle)
    assert cloned.mean("episode_return") > 5
    assert evaluate(agent, grid, plan, behaviour=oracle).mean("episode_return") < 3
    assert cloned.cost["grad_steps"].tolist() == [0, 30]


def test_only_the_trials_that_are_wanted_are_tuned():
    family = make_family("bandit:k=3,n=6")
    some = torch.tensor([True, False, True, False])
    tuned = FineTuned(
        in_context(family),
        PerTrialWeights(),
        STEPS,
        Card(method="x"),
        rows_to_adapt=lambda _buffer, _episode: some,
    )
    memory = play(tuned, family, 4, 3)
    assert memory.grad_steps.tolist() == [3, 0, 3, 0]
    fresh = tuned.trial_weights.new(tuned.agent.network, Rows.of(0, torch.arange(4)))
    for leaf, new in zip(tree.leaves(memory.own), tree.leaves(fresh), strict=True):
        assert torch.equal(leaf[~some], new[~some])
    none = FineTuned(
        in_context(family),
        PerTrialWeights(),
        STEPS,
        Card(method="x"),
        rows_to_adapt=lambda _buffer, _episode: ~some & some,
    )
    assert play(none, family, 4, 3).grad_steps.tolist() == [0] * 4


def test_episodes_that_are_to_come_are_not_read(monkeypatch):
    family, read = make_family("gridnavi"), []
    tuned = FineTuned(in_context(family, OneEpisode), PerTrialWeights(), STEPS, Card(method="x"))
    policy_outputs = OneEpisode.policy_outputs
    monkeypatch.setattr(
        OneEpisode,
        "policy_outputs",
        lambda self, memory, buffer: read.append(buffer) or policy_outputs(self, memory, buffer),
    )
    memory = play(tuned, family, 2, 4)
    assert [buffer.live.shape for buffer in read] == [(2, 2, 15)] * 3
    assert read[-1].live.all()
    assert memory.buffer.live.shape == (2, 4, 15)


def test_a_step_that_is_no_number_is_refused_and_counted():
    family = make_family("bandit:k=3,n=6")
    tuned = FineTuned(in_context(family), PerTrialWeights(), STEPS, Card(method="x"))
    memory = play(tuned, family, 3, 2)
    memory.buffer.reward[1, 0] = torch.inf
    memory = tuned.adapt(memory, Rows.of(0, torch.arange(3)), episode=1, last=False)
    assert memory.grad_steps.tolist() == [3, 0, 3]
    assert tuned.tally(memory)["refused_steps"].tolist() == [0, 3, 0]


@pytest.mark.parametrize("name", MAKERS)
def test_all_weights_that_decide_are_moved_and_no_others_are_counted(name):
    family = make_family("tabular_mdp:n=4")
    tuned = continue_training(MAKERS[name](family), 3, inner_every=2)
    assert isinstance(tuned, FineTuned)
    memory = play(tuned, family, 2, 3)
    fresh = tuned.trial_weights.new(tuned.agent.network, Rows.of(0, torch.arange(2)))
    still = [key for key, leaf in memory.own.items() if torch.equal(leaf, fresh[key])]
    assert all(key.endswith(("input_layernorm.bias", "k_proj.bias")) for key in still), still
    assert tuned.card.params_trained == sum(leaf[0].numel() for leaf in memory.own.values())


def test_where_no_weight_is_asked_nothing_is_taken_for_a_step():
    family = make_family("bandit:k=3,n=6")
    tuned = FineTuned(in_context(family), PerTrialWeights(("critic",)), STEPS, Card(method="x"))
    with pytest.raises(ContractError, match="depend on none of the weights that are tuned"):
        play(tuned, family, 2, 3)


def test_two_budgets_of_one_agent_do_not_share_how_they_decode():
    family = make_family("bandit:k=3,n=6")
    agent = in_context(family)
    one, other = (continue_training(agent, steps) for steps in (1, 2))
    one.card = dataclasses.replace(one.card, decode_rule="argmax")
    assert isinstance(one, FineTuned)
    assert isinstance(other, FineTuned)
    assert [a.card.decode_rule for a in (one.agent, other.agent, agent)] == [
        "argmax",
        "sample",
        "sample",
    ]


def test_training_is_continued_for_who_remembers_or_takes_steps_and_no_other():
    family = make_family("bandit:k=3,n=12")
    tuned = FineTuned(
        in_context(family), PerTrialWeights(("actor",)), GradientSteps(), Card(method="x")
    )
    for made in (in_context(family), recurrent(family), bayesian(family), mamls(family), tuned):
        for steps in (0, 2):
            played = evaluate(continue_training(made, steps), family, Plan(trials=4))
            assert played.cost["grad_steps"][-1] == steps * (11 // 3)
    with pytest.raises(UserError, match="random has no network that could be trained on"):
        continue_training(Random(family), 5)


def mamls(family: TaskFamily) -> inner_loop.GradientAgent:
    return maml.MamlLearner(family, maml.Config(hidden=8), seed=0).agent()


def test_one_reward_is_too_little_for_a_step():
    family = make_family("bandit:k=3,n=6")
    tuned = FineTuned(
        in_context(family), PerTrialWeights(), GradientSteps(inner_every=1), Card(method="x")
    )
    with pytest.raises(UserError, match=r"two or more environment steps\. Raise inner_every"):
        play(tuned, family, 2, 2)


def test_probabilities_are_clipped_against_those_from_which_the_steps_began(monkeypatch):
    family, seen = make_family("tabular_mdp:n=4"), []

    def spy(log_prob, behaviour, *rest):
        seen.append((log_prob.detach(), behaviour))
        return mean_gain(log_prob, behaviour, *rest)

    monkeypatch.setattr("bridge.test_time.agent.mean_gain", spy)
    play(FineTuned(in_context(family), PerTrialWeights(), STEPS, Card(method="x")), family, 3, 3)
    assert len(seen) == 3
    assert all(torch.equal(behaviour, seen[0][0]) for _, behaviour in seen)
    assert not torch.allclose(seen[2][0], seen[0][0])


def test_moments_live_through_the_trial():
    """Two times three steps count as six: the correction of Adam's first steps is made once."""
    family = make_family("bandit:k=3,n=6")
    tuned = FineTuned(in_context(family), PerTrialWeights(("actor",)), STEPS, Card(method="x"))
    memory = play(tuned, family, 3, 5)
    assert memory.moments.steps.tolist() == [6] * 3
    assert any(leaf.any() for leaf in tree.leaves(memory.moments.first))


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("name", ["in_context", "gru"])
def test_a_new_trial_in_the_weights_of_an_old_one_knows_nothing_else_of_it(name, row):
    """It is played as by a network with these weights, which has never seen that trial."""
    family, noise = make_family("bandit:k=3,n=6"), TrialNoise.of(0, torch.arange(3))
    agent: Any = MAKERS[name](family)
    tuned = FineTuned(agent, PerTrialWeights(agent.policy_modules), STEPS, Card(method="x"))
    left, trial, tasks = (
        play(tuned, family, 3, 4),
        family.trial("id"),
        family.sample("id", torch.arange(3)),
    )
    alone = copy.deepcopy(agent)
    alone.network.load_state_dict(
        {name: leaf[row] for name, leaf in left.own.items()}, strict=False
    )
    outputs: dict[str, list[torch.Tensor]] = {"alone": [], "afresh": []}
    memories = {
        "alone": alone.start(Clues(), trial, noise.agent),
        "afresh": tuned.afresh(left, Clues(), trial, noise.agent),
    }
    for who, player in (("alone", alone), ("afresh", tuned)):
        for episode in range(3):
            memories[who], _ = play_episode(
                player,
                family,
                tasks,
                memories[who],
                noise,
                episode=episode,
                horizon=trial.horizon,
                visit=lambda _t, step, _decision, who=who: outputs[who].append(step.action[row]),
            )
    assert torch.equal(torch.stack(outputs["alone"]), torch.stack(outputs["afresh"]))
    assert memories["afresh"].grad_steps.tolist() == [0, 0, 0]


def shown(agent: FineTuned, family: TaskFamily, rewards: list[list[float]]) -> Memory:
    """The memory after episodes of one step, by row: arms 0, 0, 1, 1, 0, ... and what they paid."""
    rows = Rows.of(0, torch.arange(len(rewards)))
    memory, nothing = agent.start(Clues(), family.trial("id"), rows), torch.zeros(len(rows)).long()
    for episode in range(len(rewards[0])):
        memory = agent.begin(memory, rows, episode=episode)
        reward = torch.tensor([row[episode] for row in rewards])
        action = torch.full_like(nothing, episode // 2 % 2)
        step = Step(nothing, action, reward, nothing, nothing > 0, nothing == 0)
        memory = agent.observe(memory, step)
    return memory


def test_held_out_loss_is_low_where_halves_agree_and_high_where_they_do_not():
    """Halves that reward the same arm, and halves that reward opposite ones. Both arms are played in each half."""
    family = make_family("bandit:k=2,n=8")
    config = GradientSteps(inner_steps=3, inner_lr=0.3, inner_every=8, inner_clip=9.0)
    tuned = FineTuned(Plain(family), PerTrialWeights(), config, Card(method="x"))
    same, opposite = [1.0, 1, 0, 0, 1, 1, 0, 0], [1.0, 0, 0, 1, 1, 0, 0, 1]
    with torch.no_grad():
        found = tuned.misfit(shown(tuned, family, [same, opposite, [0.0] * 8]))
    assert found[0] < -0.05
    assert found[1] > 0.05
    assert found[2] == 0  # nothing to learn, nothing to lose


def test_held_out_loss_by_hand():
    """One plain step on the even episodes, then the advantage-weighted likelihood of the odd ones; and vice versa."""
    family = make_family("bandit:k=2,n=4")
    config = GradientSteps(inner_steps=1, inner_rule="sgd", inner_lr=0.1, inner_norm=1e9)
    plain = Plain(family)
    tuned = FineTuned(plain, PerTrialWeights(), config, Card(method="x"))
    memory = shown(tuned, family, [[1.0, 0.2, 0.5, 0.9]])
    with torch.no_grad():
        found = tuned.misfit(memory)
    by_hand = []
    for known, held_out in (((0, 2), (1, 3)), ((1, 3), (0, 2))):
        policy = copy.deepcopy(plain.network)

        def gain(of, policy=policy):
            one = memory.buffer.live.clone()
            one[:, [e for e in range(4) if e not in of]] = False
            weight = tuned.step_weights(memory.buffer._replace(live=one))
            log_prob = policy(memory.buffer.obs).log_softmax(-1)
            chosen = log_prob.gather(-1, memory.buffer.action[..., None])[..., 0]
            return (chosen * weight * one).sum() / 2

        before = gain(held_out).item()
        gain(known).backward()
        with torch.no_grad():
            for leaf in policy.parameters():
                assert leaf.grad is not None
                leaf += 0.1 * leaf.grad
        by_hand.append(gain(held_out).item() - before)
    assert found.item() == pytest.approx(-sum(by_hand) / 2, abs=1e-5)


def test_misfit_leaves_the_trial_as_it_is():
    """It would go on as if never looked at, and takes as many trials at a time as steps do."""
    family = make_family("bandit:k=3,n=6")
    tuned = FineTuned(in_context(family), PerTrialWeights(), STEPS, Card(method="x"))
    memory = play(tuned, family, 3, 5)
    before = tree.fork(memory)
    with torch.no_grad():
        tuned.misfit(memory)
    for leaf, other in zip(tree.leaves(memory), tree.leaves(before), strict=True):
        assert torch.equal(leaf, other)
