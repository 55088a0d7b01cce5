"""Any Gymnasium environment as a family: tasks, splits, and what cannot be played."""

import gymnasium
import numpy as np
import pytest
import torch

from bridge.conformance import FAMILY_CHECKS, verdicts
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.evaluation.policies import PolicyDetail
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.tasks.gym_family import GymFamily

POLES = make_family("gym:CartPole-v1,vary=length=0.4..0.8,shift=length=0.8..1.6,steps=30")


def test_the_spec_is_short_for_a_name_and_python_takes_ranges():
    assert POLES.id == "gym:env=CartPole-v1,vary=length=0.4..0.8,shift=length=0.8..1.6,steps=30"
    assert make_family(POLES.id) == POLES
    ranges = {"vary": {"length": (0.4, 0.8)}, "shift": {"length": (0.8, 1.6)}}
    assert GymFamily.of("CartPole-v1", steps=30, **ranges) == POLES
    assert make_family("gym:CartPole-v1").trial("id").horizon == 500
    assert make_family("gym:CartPole-v1").hash != make_family("gym:CartPole-v0").hash


def test_each_row_has_the_length_of_its_task():
    ids = torch.arange(5)
    for split, low, high in (
        ("id", 0.4, 0.8),
        ("shift/length/1", 0.8, 1),
        ("shift/length/4", 1.4, 1.6),
    ):
        tasks = POLES.sample(split, ids)
        POLES.reset(tasks, Rows.of(0, ids))
        lengths = [env.unwrapped.length for env in POLES._stage._envs]
        assert lengths == tasks.params["length"].tolist()
        assert all(low <= length <= high for length in lengths)


def test_it_is_the_environment_stepped_by_hand():
    """Second implementation: Gymnasium's own vector environment, with the lengths set by hand."""
    rows = torch.arange(4)
    tasks, noise = POLES.sample("id", rows), Rows.of(0, rows)
    state, obs = POLES.reset(tasks, noise)
    envs = gymnasium.vector.SyncVectorEnv(
        [lambda: gymnasium.make("CartPole-v1", max_episode_steps=30)] * 4,
        autoreset_mode=gymnasium.vector.AutoresetMode.DISABLED,
    )
    for env, length in zip(envs.envs, tasks.params["length"].tolist(), strict=True):
        env.unwrapped.length = length
    theirs, _ = envs.reset(seed=state.seed.tolist())
    live = np.ones(4, bool)
    for t in range(30):
        np.testing.assert_allclose(POLES.observed(list(theirs))[live], obs[live], atol=1e-6)
        action = torch.tensor([0, 1, t % 2, 1 - t % 2])
        outcome = POLES.step(tasks, state, action, noise)
        if not live.all():
            break
        theirs, reward, terminated, truncated, _ = envs.step(action.numpy())
        assert outcome.reward.numpy()[live] == pytest.approx(reward[live])
        assert (outcome.terminated.numpy()[live] == terminated[live]).all()
        assert (outcome.truncated.numpy()[live] == truncated[live]).all()
        live &= ~(terminated | truncated)
        state, obs = outcome.state, outcome.obs
    assert not live.all()


SPECS = (
    POLES.id,
    "gym:Acrobot-v1,vary=LINK_MASS_1=0.5..1.5+LINK_MASS_2=0.5..1.5,steps=12",
    "gym:Pendulum-v1,vary=m=0.5..1.5,shift=g=10..20,steps=12",
    "gym:FrozenLake-v1,vary=make.is_slippery=true|false,steps=12",
    "gym:Blackjack-v1,steps=5",
    "gym:MountainCarContinuous-v0,steps=12",
)


@pytest.mark.parametrize("spec", SPECS)
def test_it_keeps_the_contract(spec):
    """All rules hold but those that are left out: nobody knows what the best return is."""
    found = {each.rule: each for each in verdicts(FAMILY_CHECKS, make_family(spec))}
    assert not [each.error for each in found.values() if each.error]
    left_out = {name for name, each in found.items() if each.left_out}
    assert "optimal_return_is_a_bound" in left_out
    assert left_out <= {"optimal_return_is_a_bound", "first_observation_hides_the_task"}
    assert not found["all_that_varies_matters"].left_out


class Forgets(gymnasium.Env):
    """Its reset does not keep what was set."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)
    wind = 0.5

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.wind = 0.5
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, False, False, {}


gymnasium.register("Forgets-v0", Forgets, max_episode_steps=5)
gymnasium.register("Endless-v0", Forgets)


def test_a_reset_that_does_not_keep_the_task_is_named():
    family = make_family("gym:Forgets-v0,vary=wind=0.6..0.9")
    with pytest.raises(UserError, match=r"wind=0\..*its reset set wind to 0.5"):
        family.reset(family.sample("id", torch.arange(2)), Rows.of(0, torch.arange(2)))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gym:CartPoole-v1", "no Gymnasium environment 'CartPoole-v1'"),
        ("gym:CartPole-v1,shift=lenght=1..2", r"no attribute 'lenght'. Did you mean 'length'\?"),
        ("gym:CartPole-v1,shift=kinematics_integrator=1..2", "'euler', which is no number"),
        ("gym:CartPole-v1,vary=make.nothing=1..2", "cannot be made: TypeError"),
        ("gym:Endless-v0", "no limit of steps"),
        ("gym:Pendulum-v1,shift=make.g=1..2", "has no trained value"),
        ("gym:CartPole-v1,shift=length=1|2", "needs a range"),
    ],
)
def test_what_cannot_be_played_is_refused(spec, message):
    def play():
        made = make_family(spec)
        made.trial("id")
        made.sample(made.splits[-1], torch.arange(1))

    with pytest.raises(UserError, match=message):
        play()


def test_an_attribute_that_is_not_there_is_named_with_the_nearest():
    family = make_family("gym:CartPole-v1,vary=lenght=0.4..0.8")
    with pytest.raises(UserError, match=r"no attribute 'lenght'. Did you mean 'length'"):
        family.reset(family.sample("id", torch.arange(1)), Rows.of(0, torch.arange(1)))


def test_there_is_no_regret_where_nobody_knows_the_best_return():
    found = evaluate(Random(POLES), POLES, Plan(trials=20))
    assert found.mean("trial_return") > 20
    assert np.isnan(found.mean("regret"))
    assert found.total["regret"][0].sum() == 0
    behaviour = Random(POLES)
    with pytest.raises(UserError, match="regret of an episode"):
        evaluate(
            Random(POLES),
            POLES,
            Plan(trials=4, track="F"),
            behaviour=behaviour,
            policies=PolicyDetail(),
        )


def test_lists_of_values_are_a_finite_list_of_tasks():
    family = make_family("gym:FrozenLake-v1,vary=make.is_slippery=true|false+n=1..3,steps=5")
    assert family.support("id") == 6
    tasks = family.sample("id", torch.arange(6))
    combined = set(zip(*(tasks.params[key].tolist() for key in sorted(tasks.params)), strict=True))
    assert len(combined) == 6
    assert make_family("gym:CartPole-v1").support("id") == 1
    assert POLES.support("id") is None
