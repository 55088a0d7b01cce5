"""Any Gymnasium environment as a family: tasks, splits, and what cannot be played."""

import re
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from bridge.config import split_list
from bridge.conformance import FAMILY_CHECKS, verdicts
from bridge.errors import ContractError, UserError
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
    assert make_family("gym:CartPole-v1").hash != make_family("gym:Acrobot-v1").hash


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
    varies = {"first_observation_hides_the_task", "all_that_varies_matters"}
    assert left_out == {"optimal_return_is_a_bound"} | (set() if "vary" in spec else varies)


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
        ("gym:CartPole-v1,shift=length=1|2", "has a list"),
        ("gym:CartPole-v1,vary=length=0.4|0.8,shift=length=0.9..1.6", "has a list"),
        (
            "gym:CartPole-v1,vary=length=0.4..0.8,shift=length=0.5..0.7",
            "lies within what is trained",
        ),
        ("gym:CartPole-v1,vary=lenght=0.4|0.8", "no attribute 'lenght'"),
        ("gym:minigrid:MiniGrid-Empty-5x5-v0,steps=9", "no fixed number of coordinates"),
        (
            "gym:minigrid:MiniGrid-Empty-5x5-v0,steps=9,vary=agent_vew=1..3",
            "no attribute 'agent_vew'",
        ),
    ],
)
def test_what_cannot_be_played_is_refused(spec, message):
    def play():
        made = make_family(spec)
        made.trial("id")
        made.reset(made.sample(made.splits[-1], torch.arange(1)), Rows.of(0, torch.arange(1)))

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
    spec = "gym:CartPole-v1,vary=length=0.4|0.8+kinematics_integrator=euler|semi-implicit|x,steps=5"
    family = make_family(spec)
    assert family.support("id") == 6
    tasks = family.sample("id", torch.arange(6))
    combined = set(zip(*(tasks.params[key].tolist() for key in sorted(tasks.params)), strict=True))
    assert len(combined) == 6
    assert make_family("gym:CartPole-v1").support("id") == 1
    assert POLES.support("id") is None


def test_values_reach_the_environment_as_they_are():
    """Real numbers stay real, whole ones whole; an attribute that does not vary is the environment's own."""
    rows, noise = torch.arange(3), Rows.of(0, torch.arange(3))
    family = make_family("gym:CartPole-v1,shift=gravity=10..20,steps=5")
    family.reset(family.sample("id", rows), noise)
    assert [env.unwrapped.gravity for env in family._stage._envs] == [9.8] * 3
    tasks = family.sample("shift/gravity/4", rows)
    family.reset(tasks, noise)
    found = [env.unwrapped.gravity for env in family._stage._envs]
    assert found == tasks.params["gravity"].tolist()
    assert all(17.5 < value < 20 for value in found)
    listed = make_family("gym:Pendulum-v1,vary=make.g=9|10.5+max_speed=8|9,steps=5")
    listed.reset(listed.sample("id", rows), noise)
    given = [(env.unwrapped.g, env.unwrapped.max_speed) for env in listed._stage._envs]
    assert len(set(given)) == 3
    assert {type(speed) for _, speed in given} == {int}


def test_options_reach_the_reset():
    family = make_family(
        "gym:MountainCar-v0,vary=reset.low=-0.60..-0.55+reset.high=-0.54..-0.53,steps=5"
    )
    _, obs = family.reset(family.sample("id", torch.arange(50)), Rows.of(0, torch.arange(50)))
    assert (obs[:, 0] >= -0.6).all()
    assert (obs[:, 0] <= -0.53).all()


def test_tasks_have_the_same_spaces_and_limit():
    for spec, message in (
        ("gym:FrozenLake-v1,vary=make.map_name=4x4|8x8,steps=5", "have one observation_space"),
        ("gym:CartPole-v1,vary=make.max_episode_steps=5|9", "have one max_episode_steps"),
    ):
        family = make_family(spec)
        with pytest.raises(UserError, match=message):
            family.reset(family.sample("id", torch.arange(2)), Rows.of(0, torch.arange(2)))


class Unsound(gymnasium.Env):
    """Observes what is no number, in its second step."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(1, np.nan if self.steps == 2 else 0.0), 0.0, False, False, {}


gymnasium.register("Unsound-v0", Unsound, max_episode_steps=5)


def test_an_observation_that_is_no_number_is_named_with_row_and_step():
    family = make_family("gym:Unsound-v0")
    with pytest.raises(ContractError, match=r"observation \[nan\] in row 0 at episode 0, step 1"):
        evaluate(Random(family), family, Plan(trials=2))


def test_an_environment_of_a_module_in_the_current_folder(tmp_path, monkeypatch):
    """The one of docs/gymnasium.md: MiniGrid without its sentence."""
    page = (Path(__file__).parents[3] / "docs" / "gymnasium.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n# my_envs.py\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_envs.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    family = make_family("gym:my_envs:Empty-v0,vary=make.agent_view_size=3|3,steps=9")
    assert evaluate(Random(family), family, Plan(trials=3)).mean("trial_return") >= 0
    assert len(family.hash) == 12
    with pytest.raises(UserError, match="no Gymnasium environment"):
        _ = make_family("gym:Nowhere-v0").hash
    assert split_list([f"bandit,{family.id},gridnavi"]) == ("bandit", family.id, "gridnavi")


def test_a_simulation_of_mujocos_that_diverges_is_named_with_its_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log there
    family = make_family("gym:HalfCheetah-v5,steps=20")
    tasks, noise = family.sample("id", torch.arange(3)), Rows.of(0, torch.arange(3))
    state, _ = family.reset(tasks, noise)
    family._stage._envs[1].unwrapped.data.qvel[:] = 1e12
    with pytest.raises(UserError, match=r"task 0 of gym:.*raised in step 0: .*simulation diverged"):
        family.step(tasks, state, torch.zeros(3, 6), noise)


def test_an_edited_module_makes_another_family(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = (
        "import gymnasium\n"
        "place = 'gymnasium.envs.classic_control:CartPoleEnv'\n"
        "gymnasium.register('Edited-v0', place, max_episode_steps=9)\n"
    )
    (tmp_path / "edited_envs.py").write_text(text)
    first, again = (make_family("gym:edited_envs:Edited-v0").hash for _ in range(2))
    (tmp_path / "edited_envs.py").write_text(f"{text}# another pole\n")
    assert first == again != make_family("gym:edited_envs:Edited-v0").hash
    monkeypatch.delitem(sys.modules, "edited_envs")
