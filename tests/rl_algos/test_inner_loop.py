"""Gradient steps of many tasks against loops, finite differences and exact expectations; the agent that takes them."""

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from bridge import memory as tree
from bridge import spaces
from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.maths.baselines import episode_advantages, standardised
from bridge.maths.surrogates import ESTIMATORS
from bridge.protocol import Card, Clues, Step, Trial
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.tasks.base import Box, Discrete
from rl_algos.inner_loop import GradientAgent, InnerConfig, InnerLoop
from rl_algos.per_task import Episodes
from rl_algos.policies import MlpPolicy
from tests.bridge.maths import two_steps
from tests.bridge.toys import Corridor, Reach

PLACES, MOVES = Discrete(3), Discrete(2)
SQUARE = Box((-1.0, -2.0), (1.0, 2.0))


def inner_loop(
    observation=PLACES, action=MOVES, *, hidden: int = 4, seed: int = 0, **settings
) -> InnerLoop:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        policy = MlpPolicy(observation, action, hidden)
        for parameter in policy.parameters():
            torch.nn.init.normal_(parameter, std=0.7)
    return InnerLoop(policy, InnerConfig(**settings)).double()


def some_episodes(
    inner: InnerLoop, tasks: int = 3, count: int = 4, horizon: int = 5, seed: int = 0
) -> Episodes:
    """Episodes of any length with any rewards, played by nobody."""
    rng = Rows.of(seed, torch.arange(tasks))
    shape = (count, horizon)

    def draw(space, name: str) -> Tensor:
        if isinstance(space, Discrete):
            return rng.at(name).integers(space.n, *shape)
        return rng.at(name).normal(*shape, len(space.low), dtype=torch.float64)

    live = torch.arange(horizon) < 2 + rng.at("length").integers(horizon - 1, count)[..., None]
    reward = rng.at("reward").normal(*shape, dtype=torch.float64) * live
    behaviour = -rng.at("behaviour").uniform(*shape, dtype=torch.float64) * live
    obs, action = draw(inner.policy.observation, "obs"), draw(inner.policy.action, "action")
    return inner.with_advantages(
        Episodes(obs, action, reward, live, behaviour, torch.zeros_like(reward))
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("spaces", [(PLACES, MOVES), (SQUARE, SQUARE)])
def test_all_tasks_at_once_equal_each_alone(spaces, estimator):
    inner = inner_loop(*spaces, inner_lr=0.5)
    episodes = some_episodes(inner)
    params = {
        name: p + 0.1 * torch.arange(3).view(3, *[1] * (p.dim() - 1))
        for name, p in inner.start(3).items()
    }
    together, _ = inner.step(params, episodes, estimator)
    for task in range(3):
        alone, _ = inner.step(
            {name: p[task : task + 1] for name, p in params.items()},
            Episodes(*(part[task : task + 1] for part in episodes)),
            estimator,
        )
        for name, p in alone.items():
            torch.testing.assert_close(together[name][task], p[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("spaces", [(PLACES, MOVES), (SQUARE, SQUARE)])
def test_a_step_goes_up_the_policy_gradient(spaces):
    """Written out with plain autograd: rate x the mean over lived steps of grad log pi times the advantage."""
    inner = inner_loop(*spaces, inner_lr=0.5)
    episodes = some_episodes(inner, tasks=1)
    after, _ = inner.step(inner.start(1), episodes, "maml")
    gain = standardised(episodes.advantage, episodes.live, (1, 2))[0]
    log_prob, _ = inner.policy.actions.log_prob_and_entropy(
        inner.policy(episodes.obs[0]), episodes.action[0]
    )
    objective = (log_prob * gain)[episodes.live[0]].sum() / episodes.live.sum()
    for (name, p), slope in zip(
        inner.policy.named_parameters(),
        torch.autograd.grad(objective, list(inner.policy.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(after[name][0], p + 0.5 * slope, atol=1e-4, rtol=0)


def enumerated(inner: InnerLoop) -> Episodes:
    """Every path of the two-step process as an episode, its advantages weighed by how likely the policy makes it."""
    now = log_policy(inner, dict(inner.policy.named_parameters())).detach()
    weight = 16 * two_steps.chances(now)[None, :, None]  # a surrogate is a mean over sixteen steps
    return Episodes(
        two_steps.STATES[None],
        two_steps.ACTIONS[None],
        two_steps.REWARDS[None],
        torch.ones(1, 8, 2).bool(),
        behaviour=two_steps.log_probs(now)[None],
        advantage=weight * two_steps.TO_GO[None],
    )


def log_policy(inner: InnerLoop, params: dict[str, Tensor]) -> Tensor:
    return functional_call(inner.policy, params, (torch.arange(3),)).log_softmax(-1)


def meta_gradient(inner: InnerLoop, estimator: str) -> Tensor:
    """Of V(theta + alpha E[inner gradient]), where the expectation is over every path of the policy theta."""
    own = dict(inner.policy.named_parameters())
    slope = inner.gradient(inner.start(1), enumerated(inner), estimator)
    after = {name: p + 1.5 * slope[name][0] for name, p in own.items()}
    value = two_steps.expected_return(log_policy(inner, after))
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(own.values()))])


def value_after_exact_step(inner: InnerLoop, move: Tensor) -> Tensor:
    """V(theta + move + alpha grad J(theta + move)) from the exact J, without any surrogate."""
    own, used = {}, 0
    for name, p in inner.policy.named_parameters():
        own[name] = (p.detach() + move[used : used + p.numel()].view_as(p)).requires_grad_()
        used += p.numel()
    slope = torch.autograd.grad(
        two_steps.expected_return(log_policy(inner, own)), list(own.values())
    )
    after = {name: p + 1.5 * g for (name, p), g in zip(own.items(), slope, strict=True)}
    return two_steps.expected_return(log_policy(inner, after)).detach()


def finite_differences(inner: InnerLoop, step: float = 1e-5) -> Tensor:
    count = sum(p.numel() for p in inner.policy.parameters())
    sides = [
        [value_after_exact_step(inner, s * step * axis) for s in (1, -1)]
        for axis in torch.eye(count).double()
    ]
    return torch.stack([(up - down) / (2 * step) for up, down in sides])


def test_the_meta_gradient_is_that_of_the_value_after_the_step():
    """With the inner expectation enumerated, dice is exact; the others leave out what their surrogates leave out."""
    inner = inner_loop(standardise=False)
    exact = finite_differences(inner)
    torch.testing.assert_close(meta_gradient(inner, "dice"), exact, atol=1e-8, rtol=1e-6)
    errors = {
        e: float((meta_gradient(inner, e) - exact).norm() / exact.norm())
        for e in ("lvc", "maml", "fomaml")
    }
    assert min(errors.values()) > 0.01, errors


def test_first_order_is_the_gradient_at_the_adapted_parameters():
    inner = inner_loop(standardise=False)
    own = dict(inner.policy.named_parameters())
    slope = inner.gradient(inner.start(1), enumerated(inner), "maml")
    after = {name: (p + 1.5 * slope[name][0]).detach().requires_grad_() for name, p in own.items()}
    value = two_steps.expected_return(log_policy(inner, after))
    there = torch.cat([g.flatten() for g in torch.autograd.grad(value, list(after.values()))])
    torch.testing.assert_close(meta_gradient(inner, "fomaml"), there, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("estimator", "exact"), [("lvc", True), ("dice", True), ("maml", False)])
def test_the_unit_of_standardised_advantages_is_differentiated_too(estimator, exact):
    """A bandit whose four pulls are exactly as frequent as the policy makes them, so that sums are expectations.

    The step is alpha grad J / sd of the reward, and its derivative is that of finite differences of just that.
    """
    inner = inner_loop(Discrete(1), MOVES).requires_grad_(False)
    for p in inner.policy.parameters():
        torch.nn.init.zeros_(p)
    inner.policy.head.bias.data = torch.tensor([0.75, 0.25]).double().log()
    paid = torch.tensor([1.0, -0.5], dtype=torch.float64)
    action = torch.tensor([0, 0, 0, 1])[None, :, None]
    reward = paid[action]
    episodes = Episodes(
        torch.zeros_like(action),
        action,
        reward,
        torch.ones_like(action).bool(),
        behaviour=torch.tensor([0.75, 0.25]).double().log()[action],
        advantage=reward,
    )
    logits = inner.policy.head.bias.detach().clone().requires_grad_()

    def exact_step(logits: Tensor) -> Tensor:
        chance = logits.softmax(-1)
        mean = (chance * paid).sum()
        slope = torch.autograd.grad(mean, logits, create_graph=True)[0]
        return slope / ((chance * paid.square()).sum() - mean.square()).sqrt()

    start = {name: p[None] for name, p in inner.policy.named_parameters()} | {
        "head.bias": logits[None]
    }
    step = inner.gradient(start, episodes, estimator)["head.bias"][0]
    torch.testing.assert_close(step, exact_step(logits), atol=1e-9, rtol=0)
    for side in range(2):
        ours, theirs = (
            torch.autograd.grad(s[side], logits, retain_graph=True)[0]
            for s in (step, exact_step(logits))
        )
        assert bool((ours - theirs).abs().max() < 1e-8) == exact


def test_long_and_impossible_steps_are_refused_for_their_own_task_alone():
    inner = inner_loop(max_step=10.0)
    episodes = some_episodes(inner)
    params = {name: p.clone() for name, p in inner.start(3).items()}
    fine, taken = inner.step(params, episodes, "fomaml")
    assert taken.tolist() == [True] * 3
    broken = episodes.advantage.clone()
    broken[1, 0, 0] = torch.nan
    after, taken = inner.step(params, episodes._replace(advantage=broken), "fomaml")
    assert taken.tolist() == [True, False, True]
    for name, p in after.items():
        assert torch.equal(p[1], params[name][1])
        assert torch.equal(p[[0, 2]], fine[name][[0, 2]])
    inner.rates[0].data.fill_(1e4)
    assert not inner.step(params, episodes, "fomaml")[1].any()


def test_only_the_head_moves_where_only_the_head_is_adapted():
    inner = inner_loop(adapted="head")
    assert set(inner.start(2)) == {"head.weight", "head.bias"}
    after, _ = inner.step(inner.start(3), some_episodes(inner), "lvc")
    whole = inner_loop()
    both, _ = whole.step(whole.start(3), some_episodes(whole), "lvc")
    for name, p in after.items():
        torch.testing.assert_close(p, both[name], atol=1e-12, rtol=0)


# --- the agent --------------------------------------------------------------------------------------------------------


def agent(family, **settings) -> GradientAgent:
    inner = inner_loop(family.observation, family.action, inner_lr=1.0, **settings)
    return GradientAgent(inner, Card(method="toy", supervision="reward"))


@pytest.mark.parametrize(
    "family",
    [
        Corridor(),
        Reach(),
        make_family("bandit:k=3,n=6"),
        pytest.param(make_family("gridnavi"), marks=pytest.mark.slow),
    ],
)
def test_keeps_the_contract(family):
    for check in AGENT_CHECKS.values():
        check(agent(family, episodes_per_step=2), family, tolerance=1e-9)


def played(who: GradientAgent, episodes: int, *, adapt: bool = True):
    """Three trials on a corridor of noisy rewards; what every episode held, and the memory."""
    rng, trial = Rows.of(0, torch.arange(3)), Trial(6, 4)
    memory, seen = who.start(Clues(), trial, rng), []
    for episode in range(episodes):
        memory = who.begin(memory, rng, episode=episode)
        for t in range(2 + episode % 2):
            at = rng.at(episode, t)
            obs, action, reward = (
                at.integers(3),
                at.at("action").integers(2),
                at.at("reward").normal(),
            )
            ended = torch.full((3,), t == 1 + episode % 2)
            memory = who.observe(memory, Step(obs, action, reward, obs, ended, ~ended & False))
            seen.append((episode, t, obs, action, reward))
        if adapt:
            memory = who.adapt(memory, rng, episode=episode, last=False)
    return memory, seen


def test_a_step_is_taken_on_the_episodes_since_the_last_one_and_only_those():
    family = Corridor(half=1)
    who = agent(family, episodes_per_step=2)
    memory, seen = played(who, 4)
    assert memory.grad_steps.tolist() == [2, 2, 2]
    params = who.inner.start(3)
    for first in (0, 2):
        parts = Episodes(
            torch.zeros(3, 2, 4, dtype=torch.int64),
            torch.zeros(3, 2, 4, dtype=torch.int64),
            torch.zeros(3, 2, 4),
            torch.zeros(3, 2, 4, dtype=torch.bool),
            torch.zeros(3, 2, 4),
            torch.zeros(3, 2, 4),
        )
        for episode, t, obs, action, reward in seen:
            if first <= episode < first + 2:
                for part, value in zip(parts, (obs, action, reward, True), strict=False):
                    part[:, episode - first, t] = value
        params, _ = who.inner.step(params, who.inner.with_advantages(parts), "fomaml")
    for name, p in memory.params.items():
        torch.testing.assert_close(p, params[name], atol=1e-12, rtol=0)


def test_further_steps_are_shorter():
    family = Corridor(half=1)
    who, even = (agent(family, episodes_per_step=2, inner_decay=decay) for decay in (0.5, 1.0))
    (once, _), (twice, _) = played(who, 2), played(who, 4)
    params = once.params
    for name, p in played(even, 2)[0].params.items():
        torch.testing.assert_close(params[name], p, atol=1e-12, rtol=0)
    for name, p in played(even, 4)[0].params.items():
        torch.testing.assert_close(
            twice.params[name] - params[name], (p - params[name]) / 2, atol=1e-12, rtol=0
        )


def test_what_is_left_is_used_before_scoring():
    who = agent(Corridor(half=1), episodes_per_step=4)
    memory, _ = played(who, 3)
    assert memory.grad_steps.tolist() == [0, 0, 0]
    memory = who.adapt(memory, Rows.of(0, torch.arange(3)), episode=2, last=True)
    assert memory.grad_steps.tolist() == [1, 1, 1]
    assert {name: value.tolist() for name, value in who.tally(memory).items()} == {
        "grad_steps": [1, 1, 1],
        "refused_steps": [0, 0, 0],
    }


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"gamma": 1.5}, "gamma"),
        ({"inner_lr": -1.0}, "inner_lr"),
        ({"episodes_per_step": -1}, "episodes_per_step"),
    ],
)
def test_impossible_settings_are_refused(settings, what):
    with pytest.raises(UserError, match=what):
        InnerConfig(**settings)


def test_one_step_is_too_little_to_learn_from():
    with pytest.raises(UserError, match="episodes_per_step"):
        InnerConfig(episodes_per_step=1).episodes(Trial(10, 1))


@pytest.mark.parametrize(
    ("trial", "count"),
    [(Trial(80, 100), 20), (Trial(10, 10), 2), (Trial(100, 1), 20), (Trial(20, 20), 5)],
)
def test_a_quarter_of_a_trial_is_played_between_steps(trial, count):
    assert InnerConfig().episodes(trial) == count


def test_a_step_before_scoring_does_not_see_episodes_that_were_used():
    """Four episodes in two steps, then a fifth: with what came before it changed, its step is the same."""
    who = agent(Corridor(half=1), episodes_per_step=2)
    memory, _ = played(who, 5)
    kept = memory.buffer
    other = kept._replace(
        reward=torch.cat([kept.reward[:, :1], kept.reward[:, 1:] + 7 * kept.live[:, 1:]], 1)
    )
    rng = Rows.of(0, torch.arange(3))
    assert kept.live[:, 0].any()
    assert not kept.live[:, 1].any()
    one, two = (
        who.adapt(tree.fork(m), rng, episode=4, last=True)
        for m in (memory, memory._replace(buffer=other))
    )
    for name, p in one.params.items():
        assert torch.equal(p, two.params[name])


def test_a_step_is_refused_where_it_is_longer_than_allowed_over_all_parameters():
    """The bound lies between the lengths of the tasks' steps, and above each of their parts."""
    free = inner_loop(inner_lr=0.5)
    episodes, start = some_episodes(free), free.start(3)
    after, _ = free.step(start, episodes, "fomaml")
    parts = torch.stack([(after[name] - p).flatten(1).norm(dim=1) for name, p in start.items()])
    length = parts.norm(dim=0)
    shortest, middle, longest = length.sort().values.tolist()
    for bound, count in ((0.99 * shortest, 0), ((middle + longest) / 2, 2), (1.01 * longest, 3)):
        _, taken = inner_loop(inner_lr=0.5, max_step=bound).step(start, episodes, "fomaml")
        assert torch.equal(taken, length <= bound)
        assert taken.sum() == count
    assert parts.max() < 0.99 * longest


def test_each_further_step_is_shorter_by_the_same_share():
    inner = inner_loop(inner_decay=0.3)
    episodes, start = some_episodes(inner), inner.start(3)
    first, *later = (inner.step(start, episodes, "lvc", number)[0] for number in range(3))
    for number, after in enumerate(later, 1):
        for name, p in start.items():
            torch.testing.assert_close(
                after[name] - p, 0.3**number * (first[name] - p), atol=1e-12, rtol=0
            )


def test_episodes_are_judged_as_configured():
    inner = inner_loop(SQUARE, SQUARE, gamma=0.8, lam=0.3, baseline="time")
    seen = some_episodes(inner)
    obs = spaces.features(seen.obs, SQUARE)
    found = episode_advantages(seen.reward, obs, seen.live, gamma=0.8, lam=0.3, baseline="time")
    assert torch.equal(seen.advantage, found)


def test_step_sizes_are_learned_only_by_who_asks_for_it():
    assert not any(rate.requires_grad for rate in inner_loop().rates)


def test_without_a_step_lived_parameters_stay():
    inner = inner_loop()
    episodes, start = some_episodes(inner), inner.start(3)
    nothing = torch.zeros_like(episodes.reward)
    none = episodes._replace(
        reward=nothing, live=nothing.bool(), behaviour=nothing, advantage=nothing
    )
    after, taken = inner.step(start, inner.with_advantages(none), "fomaml")
    assert taken.all()
    for name, p in start.items():
        assert torch.equal(after[name], p)


def test_refused_steps_are_counted_apart_and_change_nothing():
    """With a bound that no step keeps: two steps were due, both of them refused."""
    who = agent(Corridor(half=1), episodes_per_step=2, max_step=1e-9)
    memory, _ = played(who, 4)
    assert {name: value.tolist() for name, value in who.tally(memory).items()} == {
        "grad_steps": [0, 0, 0],
        "refused_steps": [2, 2, 2],
    }
    for name, p in who.inner.start(3).items():
        assert torch.equal(memory.params[name], p)


def test_a_memory_keeps_no_more_episodes_than_a_step_or_a_trial_has():
    for asked, kept in ((2, 2), (50, 6)):
        who = agent(Corridor(half=1), episodes_per_step=asked)
        memory = who.start(Clues(), Trial(6, 4), Rows.of(0, torch.arange(3)))
        assert memory.buffer.live.shape == (3, kept, 4)


def test_an_episode_takes_the_place_of_an_older_one_whole():
    """Nobody adapts: of a longer episode in the same place nothing is left. After a step nothing is left of any."""
    who, rng = agent(Corridor(half=1), episodes_per_step=2), Rows.of(0, torch.arange(3))
    memory, _ = played(who, 2, adapt=False)
    used = who.adapt(tree.fork(memory), rng, episode=1, last=False)
    assert not used.buffer.live.any()
    assert not used.buffer.reward.any()
    assert memory.buffer.reward[:, 1].any()
    memory = who.begin(memory, rng, episode=3)
    assert memory.buffer.live.any(2).tolist() == [[True, False]] * 3
    assert not memory.buffer.reward[:, 1].any()


@pytest.mark.parametrize("space", [MOVES, SQUARE], ids=["discrete", "continuous"])
def test_frozen_scoring_asks_for_the_mode(space):
    who = GradientAgent(inner_loop(PLACES, space), Card(method="toy", supervision="reward"))
    rng = Rows.of(0, torch.arange(200))
    memory, obs = who.start(Clues(), Trial(6, 4), rng), torch.zeros(200, dtype=torch.int64)
    frozen, explored = (
        who.act(memory, obs, rng, explore=explore).action for explore in (False, True)
    )
    assert len(frozen.unique(dim=0)) == 1
    assert len(explored.unique(dim=0)) > 1


@pytest.mark.parametrize(
    ("settings", "what"), [({"lam": -0.1}, "lam"), ({"max_step": 0.0}, "max_step")]
)
def test_more_impossible_settings_are_refused(settings, what):
    with pytest.raises(UserError, match=what):
        InnerConfig(**settings)


def test_two_episodes_are_the_fewest_unless_one_is_asked_for():
    assert InnerConfig().episodes(Trial(5, 10)) == 2
    assert InnerConfig(episodes_per_step=1).episodes(Trial(5, 2)) == 1
