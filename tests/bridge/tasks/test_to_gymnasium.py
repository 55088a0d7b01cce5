"""The families through Gymnasium: its own checker, its own vector environment as the oracle, and its own errors."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode

from bridge.conformance.snapshot import global_noise
from bridge.errors import UserError
from bridge.tasks import FAMILIES, family
from bridge.tasks.to_gymnasium import FamilyEnv, FamilyVectorEnv, register_envs
from tests.bridge.short import SHORT
from tests.bridge.toys import Reach

every_family = pytest.mark.parametrize("spec", SHORT.values(), ids=SHORT)


def env_id(spec: str) -> str:
    return f"metabridge/{spec.partition(':')[0]}-v0"


def vector(spec: str, rows: int, **kwargs: Any) -> Any:
    return gymnasium.make_vec(
        env_id(spec), num_envs=rows, spec=spec, vectorization_mode="vector_entry_point", **kwargs
    )


def oracle(spec: str, rows: int, **kwargs: Any) -> Any:
    """Gymnasium's loop over single environments."""
    disabled = {"autoreset_mode": AutoresetMode.DISABLED}
    return gymnasium.make_vec(
        env_id(spec),
        num_envs=rows,
        spec=spec,
        vectorization_mode="sync",
        vector_kwargs=disabled,
        **kwargs,
    )


# --- what Gymnasium asks ----------------------------------------------------------------------------------------------


def test_every_family_is_tested_here_and_registered() -> None:
    assert SHORT.keys() == FAMILIES.keys()
    assert {f"metabridge/{name}-v0" for name in FAMILIES} <= gymnasium.registry.keys()


def variants() -> list[str]:
    """Every family at every value of each of its fields that is a choice, and on a fixed set of tasks."""
    found = []
    for name, cls in FAMILIES.items():
        hints = get_type_hints(cls).items()
        choices = [
            f"{field}={value}"
            for field, hint in hints
            if get_origin(hint) is Literal
            for value in get_args(hint)
        ]
        needed = {"bandit": "k=2,", "gym": "vary=length=0.4..0.8,"}.get(name, "")
        few = "tasks=2" if name == "cheetah_dir" else "tasks=3"
        found += [f"{name}:{needed}{choice}" for choice in (*choices, few)]
    return found


@pytest.mark.parametrize("spec", variants())
def test_gymnasium_finds_no_fault(spec: str) -> None:
    """Its warnings are errors here."""
    check_env(gymnasium.make(env_id(spec), spec=spec).unwrapped)


@pytest.mark.slow
@pytest.mark.parametrize("spec", variants())
def test_observations_are_of_their_space_on_every_split(spec: str) -> None:
    for split in family(spec).splits:
        env = FamilyVectorEnv(32, spec, split)
        env.action_space.seed(0)
        obs, _ = env.reset(seed=0)
        for _ in range(10):
            assert env.observation_space.contains(obs), split
            obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            assert (reward.dtype, terminated.dtype, truncated.dtype) == (
                np.float64,
                np.bool_,
                np.bool_,
            )
            assert np.isfinite(reward).all()
            if (over := terminated | truncated).any():
                obs, _ = env.reset(options={"reset_mask": over})


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_made_by_its_name_alone(name: str) -> None:
    env = gymnasium.make(f"metabridge/{name}-v0")
    assert isinstance(env.unwrapped, FamilyEnv)
    assert env.unwrapped.family == FAMILIES[name]()


def test_registering_again_changes_nothing() -> None:
    before = dict(gymnasium.registry)
    register_envs()
    assert dict(gymnasium.registry) == before


def test_a_newcomer_makes_one_without_an_import() -> None:
    made = 'gymnasium.make("bridge.tasks.to_gymnasium:metabridge/bandit-v0", spec="bandit:k=3")'
    code = f"import gymnasium; print({made}.action_space)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Discrete(3)"


def test_the_vector_environment_says_that_it_does_not_reset() -> None:
    """Twice: torchrl reads the attribute that Gymnasium's own loops have."""
    envs = vector(SHORT["bandit"], 2)
    assert envs.metadata["autoreset_mode"] is envs.autoreset_mode is AutoresetMode.DISABLED


def test_an_environment_is_made_again_from_its_own_specification() -> None:
    env = gymnasium.make("metabridge/bandit-v0", spec="bandit:k=3,n=4", split="shift/gap/2")
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    same(env.reset(seed=5), again.reset(seed=5))
    same([env.step(1)[:2] for _ in range(1)], [again.step(1)[:2] for _ in range(1)])


def test_closing_twice_and_rendering_are_what_gymnasium_says() -> None:
    for env in (
        gymnasium.make("metabridge/gridnavi-v0", render_mode=None),
        vector("gridnavi", 2, render_mode=None),
    ):
        assert env.render_mode is None
        assert env.metadata["render_modes"] == []
        env.reset(seed=0)
        with pytest.raises(NotImplementedError):
            env.unwrapped.render()
        env.close()
        env.close()


def test_a_render_mode_is_refused_as_by_an_environment_that_takes_none() -> None:
    """With a TypeError: stable-baselines3 asks for rgb_array, and does without after that error alone."""
    with pytest.raises(TypeError, match="expected render_mode=None, found 'rgb_array'"):
        FamilyEnv("gridnavi", render_mode="rgb_array")
    with pytest.raises(TypeError, match="expected render_mode=None, found 'rgb_array'"):
        FamilyVectorEnv(2, "gridnavi", render_mode="rgb_array")


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: pickle.loads(cloudpickle.dumps(env)),
}


@every_family
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_plays_on_alone(spec: str, how: str) -> None:
    """From the middle of a trial; what is played in the copy leaves the original where it was."""
    for env in (gymnasium.make(env_id(spec), spec=spec).unwrapped, FamilyVectorEnv(2, spec)):
        env.action_space.seed(1)
        actions = [env.action_space.sample() for _ in range(3)]
        env.reset(seed=1)
        twin = COPIES[how](env)
        played = [
            [each.step(actions[0]), each.reset(), each.step(actions[1]), each.reset()]
            for each in (twin, env)
        ]
        same(*played)


@every_family
def test_a_seed_reaches_the_spaces(spec: str) -> None:
    for one, other in (
        (FamilyEnv(spec), FamilyEnv(spec)),
        (FamilyVectorEnv(3, spec), FamilyVectorEnv(3, spec)),
        (vector(spec, 3), oracle(spec, 3)),
    ):
        for env in (one, other):
            env.action_space.seed(7)
            env.observation_space.seed(7)
        same(
            [one.action_space.sample() for _ in range(5)],
            [other.action_space.sample() for _ in range(5)],
        )
        same(one.observation_space.sample(), other.observation_space.sample())


# --- B rows are B single environments ---------------------------------------------------------------------------------


def same(a: Any, b: Any) -> None:
    assert data_equivalence(a, b, exact=True), f"{a} is not {b}"


def with_axis(spec: str, split: str) -> str:
    """A shifted split if the family has its axis, else ``id``."""
    return split if split in family(spec).splits else "id"


@every_family
@pytest.mark.parametrize(
    ("split", "seed"),
    [
        ("train", 0),
        ("shift/reward_scale/2", 12345),
        ("shift/changes/4", 1),
        ("shift/obs_noise/2", 2),
        ("shift/obs_permutation/2", 3),
        ("shift/reward_delay/2", 4),
    ],
)
def test_rows_are_single_environments_step_for_step(spec: str, split: str, seed: int) -> None:
    """Through several trials, with rows reset at random in the middle of episodes, some of them with a new seed."""
    rows, draw = 4, np.random.default_rng(seed)
    split = with_axis(spec, split)
    ours, theirs = vector(spec, rows, split=split), oracle(spec, rows, split=split)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    ours.action_space.seed(seed)
    same(ours.reset(seed=seed), theirs.reset(seed=seed))
    newest = 0
    for t in range(60):
        actions = ours.action_space.sample()
        found = ours.step(actions)
        same(found, theirs.step(actions))
        newest = max(newest, *found[4]["trial"])
        mask = found[2] | found[3] | (draw.random(rows) < 0.1)
        if mask.any():
            seeds = (
                None
                if draw.random() < 0.7
                else [int(draw.integers(100)) if draw.random() < 0.5 else None] * rows
            )
            seeds = int(draw.integers(100)) if t == 30 else seeds
            both = [env.reset(seed=seeds, options={"reset_mask": mask}) for env in (ours, theirs)]
            same(*both)
    assert newest > 0


@every_family
def test_the_whole_batch_can_be_reset_at_any_time(spec: str) -> None:
    ours, theirs = vector(spec, 3), oracle(spec, 3)
    same(ours.reset(seed=[5, 1, 7]), theirs.reset(seed=[5, 1, 7]))
    actions = ours.action_space.sample()
    same(ours.step(actions), theirs.step(actions))
    same(ours.reset(), theirs.reset())
    same(ours.step(actions), theirs.step(actions))
    same(ours.reset(seed=9), theirs.reset(seed=9))
    same(ours.step(actions), theirs.step(actions))


def test_real_valued_actions_are_taken_as_float32_within_their_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FAMILIES.builtin, "reach", Reach)
    rows, singles = FamilyVectorEnv(2, "reach"), [FamilyEnv("reach") for _ in range(2)]
    rows.reset(seed=4)
    for i, single in enumerate(singles):
        single.reset(seed=4 + i)
    for action in ([[0.1, -0.1], [0.05, 0.0]], np.zeros((2, 2)), np.zeros((2, 2), dtype=np.int64)):
        obs, reward, *_ = rows.step(action)
        for i, single in enumerate(singles):
            ours = single.step(action[i])
            assert single.observation_space.contains(ours[0])
            same(ours[0], obs[i])
            assert ours[1] == reward[i]
    for action in ([[0.0, 0.0], [0.2, 0.0]], [[0.0, 0.0], [np.nan, 0.0]]):
        with pytest.raises(InvalidAction, match="Row 1 was given the action"):
            rows.step(action)


@every_family
def test_what_is_returned_may_be_written_on(spec: str) -> None:
    def run(write: int) -> list:
        env = vector(spec, 3)
        env.action_space.seed(0)
        seen = [env.reset(seed=0)]
        for _ in range(10):
            seen.append(env.step(env.action_space.sample()))
            mask = seen[-1][2] | seen[-1][3]
            if mask.any():
                seen.append(env.reset(options={"reset_mask": mask}))
            copies = copy.deepcopy(seen[-1])
            seen[-1][0][:] += write
            seen[-1] = copies
        return seen

    same(run(write=0), run(write=1))


# --- trials -----------------------------------------------------------------------------------------------------------


@every_family
def test_episodes_follow_one_another_on_a_task_and_then_comes_another_trial(spec: str) -> None:
    """On a continuum of tasks, or with a seed that draws three of them, so that another task is another one."""
    env = FamilyEnv(spec, split=with_axis(spec, "shift/reward_sign/2"))
    trial, still = env.family.trial("id"), np.zeros_like(env.action_space.sample())
    _, info = env.reset(seed=2)
    seen, tasks = [], []
    for _ in range(2 * trial.episodes + 1):
        seen.append((info["trial"], info["trial_episode"]))
        tasks.append(int(env._trials.tasks.index))
        for t in range(trial.horizon):
            _, _, terminated, truncated, inside = env.step(still)
            assert inside == info
            over = t + 1 == trial.horizon
            assert (terminated, truncated) == (
                (over, False) if spec.startswith("bandit") else (False, over)
            )
        _, info = env.reset()
    episodes = range(trial.episodes)
    assert seen == [*[(0, k) for k in episodes], *[(1, k) for k in episodes], (2, 0)]
    assert [len(set(tasks[i * trial.episodes : (i + 1) * trial.episodes])) for i in range(2)] == [
        1,
        1,
    ]
    assert len(set(tasks)) == 3


def rewards(spec: str, seed: int | None, episodes: int = 6) -> list[float]:
    env = FamilyEnv(spec)
    env.reset(seed=seed)
    found = []
    for _ in range(episodes):
        over = False
        while not over:
            _, reward, terminated, truncated, _ = env.step(0)
            found.append(reward)
            over = terminated or truncated
        env.reset()
    return found


def test_a_seed_decides_the_trial_and_all_that_follow() -> None:
    assert rewards("tabular_mdp:n=2", 1) == rewards("tabular_mdp:n=2", 1)
    assert rewards("tabular_mdp:n=2", 1) != rewards("tabular_mdp:n=2", 2)
    assert rewards("tabular_mdp:n=2", None) != rewards("tabular_mdp:n=2", None)
    assert rewards("tabular_mdp:n=2", 2**100) == rewards("tabular_mdp:n=2", 2**100)


def test_a_seed_may_be_any_integer_and_all_of_its_bits_count() -> None:
    """Of numpy's integers, too, which Gymnasium's own environments refuse."""

    def begun(seed: Any) -> tuple[float, ...]:
        return tuple(rewards("tabular_mdp:n=2", seed, episodes=1))

    assert {begun(seed) for seed in (np.int64(3), np.uint32(3), np.array(3), torch.tensor(3))} == {
        begun(3)
    }
    large = [0, 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64, 2**64 + 1]
    assert len({begun(seed) for seed in large}) == len(large)


def test_an_unseeded_environment_is_repeated_by_the_seed_that_it_drew() -> None:
    one, other = FamilyEnv("tabular_mdp:n=2"), FamilyEnv("tabular_mdp:n=2")
    one.reset()
    other.reset(seed=one.np_random_seed)
    same([one.step(2) for _ in range(5)], [other.step(2) for _ in range(5)])


def test_a_generator_of_the_callers_own_decides_the_trial() -> None:
    """Its seed is unknown to Gymnasium, which calls it -1."""

    def played(seed: int) -> list:
        env = FamilyEnv("tabular_mdp:n=2")
        env.np_random = np.random.default_rng(seed)
        env.reset()
        return [env.step(2)[1] for _ in range(5)]

    assert played(1) == played(1)
    assert played(1) != played(2)


@pytest.mark.parametrize(
    "seeds",
    [
        np.array([5, 6, 7]),
        np.array([5, 6, 7], dtype=np.uint32),
        (5, np.int8(6), 7),
        range(5, 8),
        5,
        np.int64(5),
    ],
)
def test_rows_take_seeds_of_every_kind(seeds: Any) -> None:
    env, expected = FamilyVectorEnv(3, "tabular_mdp:n=2"), oracle("tabular_mdp:n=2", 3)
    env.reset(seed=seeds)
    expected.reset(seed=[5, 6, 7])
    actions = np.array([1, 2, 3])
    same([env.step(actions) for _ in range(9)], [expected.step(actions) for _ in range(9)])


def test_none_among_seeds_leaves_a_row_to_its_trial() -> None:
    env, expected = FamilyVectorEnv(2, "tabular_mdp:n=2"), oracle("tabular_mdp:n=2", 2)
    for each in (env, expected):
        each.reset(seed=1)
    same(env.reset(seed=[np.int64(9), None]), expected.reset(seed=[9, None]))
    actions = np.array([1, 2])
    same([env.step(actions) for _ in range(9)], [expected.step(actions) for _ in range(9)])
    env.reset(seed=None)
    assert env._trials.episode.tolist() == [
        1,
        0,
    ]  # row 1 began its second episode before, and another trial now


def test_tasks_are_drawn_evenly_from_a_finite_split() -> None:
    env = FamilyVectorEnv(2000, "gridnavi")
    env.reset(seed=0)
    counts = torch.bincount(env._trials.tasks.index, minlength=21)
    assert len(counts) == 21
    assert abs(counts - 2000 / 21).max() < 5 * (2000 / 21) ** 0.5


def test_episodes_of_a_trial_and_rows_draw_noise_of_their_own() -> None:
    env = vector("bandit:k=2,n=4,arms=gaussian", 50)
    env.reset(seed=0)
    paid = []
    for _ in range(8):
        _, reward, *_ = env.step(np.zeros(50, dtype=np.int64))
        paid.append(reward)
        env.reset()
    assert len(np.unique(np.array(paid))) == 8 * 50


@every_family
def test_infos_tell_nothing_of_the_task_and_no_global_generator_moves(spec: str) -> None:
    env = FamilyVectorEnv(2, spec)
    env.action_space.seed(0)
    before = global_noise()
    _, info = env.reset(seed=0)
    *_, later = env.step(env.action_space.sample())
    assert global_noise() == before
    assert set(info) == set(later) == {"trial", "_trial", "trial_episode", "_trial_episode"}


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_row_that_ended_must_be_reset_first() -> None:
    env = FamilyVectorEnv(3, SHORT["bandit"])
    actions = np.zeros(3, dtype=np.int64)
    with pytest.raises(
        ResetNeeded, match=r"Rows \[0, 1, 2\] have no running episode. Call reset\(\) first"
    ):
        env.step(actions)
    env.reset(seed=0)
    env.step(actions)
    env.reset(options={"reset_mask": np.array([True, False, True])})
    with pytest.raises(
        ResetNeeded, match=r'Rows \[1\] .* options={"reset_mask": terminated | truncated}'
    ):
        env.step(actions)


def test_a_single_environment_that_ended_must_be_reset_first() -> None:
    env = FamilyEnv(SHORT["bandit"])
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ResetNeeded):
        env.step(0)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.array([0, 3]), "Row 1 was given the action 3; actions lie between 0 and 2"),
        (np.array([-1, 0]), "Row 0 was given the action -1"),
        (np.array([0.0, 1.0]), "found float64"),
        (np.array([0]), r"shape \(2,\), integers, found int64 of shape \(1,\)"),
        (0, r"of shape \(\)"),
        (None, "found object"),
    ],
)
def test_a_wrong_action_is_refused_by_row(actions: Any, message: str) -> None:
    env = FamilyVectorEnv(2, SHORT["bandit"])
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=message):
        env.step(actions)


def test_the_callers_actions_are_left_alone_and_may_be_read_only() -> None:
    env = FamilyVectorEnv(2, SHORT["gridnavi"])
    env.reset(seed=0)
    actions = np.array([1, 2], dtype=np.int32)
    actions.setflags(write=False)
    env.step(actions)


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        ([True, False], TypeError),
        (np.array([1, 0]), TypeError),
        (np.array([True]), ValueError),
        (np.array([False, False]), ValueError),
    ],
)
def test_a_wrong_mask_is_refused_as_gymnasium_refuses_it(mask: Any, error: type[Exception]) -> None:
    for env in (vector(SHORT["bandit"], 2), oracle(SHORT["bandit"], 2)):
        env.reset(seed=0)
        with pytest.raises(error, match="reset_mask"):
            env.reset(options={"reset_mask": mask})


def test_wrong_seeds_are_refused() -> None:
    env = FamilyVectorEnv(2, SHORT["bandit"])
    with pytest.raises(ValueError, match="2 rows, found 3 seeds"):
        env.reset(seed=[1, 2, 3])
    for seed in (-1, [1, -1]):
        with pytest.raises(
            gymnasium.error.Error, match="Seed must be greater or equal to zero, actual value: -1"
        ):
            env.reset(seed=seed)
    with pytest.raises(ResetNeeded, match="first reset must be of all rows"):
        env.reset(seed=1, options={"reset_mask": np.array([True, False])})


def test_an_option_without_effect_is_refused() -> None:
    for env in (FamilyEnv(SHORT["bandit"]), FamilyVectorEnv(2, SHORT["bandit"])):
        env.reset(seed=0, options={})
        with pytest.raises(
            ValueError, match=r"reset\(\) of this environment takes .*, found 'task'"
        ):
            env.reset(options={"task": 3})
        env.step(env.action_space.sample())  # a refused reset is none: the episode goes on


def test_a_refused_seed_changes_nothing() -> None:
    for env in (FamilyEnv(SHORT["tabular_mdp"]), FamilyVectorEnv(2, SHORT["tabular_mdp"])):
        env.reset(seed=3)
        seed = env.np_random_seed
        with pytest.raises(gymnasium.error.Error, match="greater or equal to zero"):
            env.reset(seed=-1)
        assert env.np_random_seed == seed
        assert env._trials.episode.tolist() == [0] * len(env._trials.episode)


def test_a_wrong_spec_or_split_is_refused_when_the_environment_is_made() -> None:
    with pytest.raises(UserError, match="Did you mean 'bandit'"):
        FamilyEnv("bandits")
    with pytest.raises(UserError, match="Unknown split"):
        gymnasium.make("metabridge/bandit-v0", split="test")
