"""Ant, cheetah and walker: step for step Gymnasium's, with the tasks and rewards of the papers."""

import gymnasium
import numpy as np
import pytest
import torch
from scipy import stats

from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.tasks.base import Tasks
from bridge.tasks.locomotion.running import Running

LEAST_P = 1e-4
STEPS = 60


def running(spec: str) -> Running:
    family = make_family(spec)
    assert isinstance(family, Running)
    return family


def goals(spec: str, split: str, name: str, n: int = 2000) -> np.ndarray:
    return make_family(spec).sample(split, torch.arange(n)).params[name].double().numpy()


# --- Gymnasium's environments, from the same state with the same actions ----------------------------------------------


class Beside:
    """One of ours beside one of Gymnasium's, with their observations, positions and rewards of each step."""

    def __init__(
        self, spec: str, params: dict[str, torch.Tensor], name: str, **arguments: object
    ) -> None:
        family = running(spec)
        env = gymnasium.make(name, **arguments)
        env.reset(seed=0)
        theirs = env.unwrapped
        model, data = theirs.model, theirs.data
        state = np.concatenate([[data.time], data.qpos, data.qvel])[None]
        tasks, noise = Tasks(torch.arange(1), params), Rows.of(0, torch.arange(1))
        ours, self.apart = torch.from_numpy(state), 0.0
        rng = np.random.default_rng(0)
        self.observations, self.rewards, self.expected = [], [], []
        for _ in range(STEPS):
            action = rng.uniform(-1, 1, model.nu).astype(np.float32)
            before = data.qpos.copy()
            obs, reward, ended, _, _ = env.step(action)
            outcome = family.step(tasks, ours, torch.from_numpy(action)[None], noise)
            there = torch.from_numpy(np.concatenate([[data.time], data.qpos, data.qvel])[None])
            self.apart = max(self.apart, float((outcome.state - there).abs().max()))
            ours = there  # rounding grows in a body that tumbles
            self.observations.append((outcome.obs[0].numpy(), obs))
            velocity = (data.qpos[:2] - before[:2]) / theirs.dt
            self.rewards.append((float(outcome.reward), float(reward)))
            self.expected.append((velocity, float((action.astype(np.float64) ** 2).sum())))
            if outcome.terminated is not None:
                assert bool(outcome.terminated) == ended
            if ended:
                break

    def check_observations(self) -> None:
        assert self.apart < 1e-9
        for ours, theirs in self.observations:
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_cheetah_that_is_left_alone_stays_with_half_cheetah_v5() -> None:
    """Both run from one state; rounding has grown to less than 1e-8 m after 30 steps."""
    env = gymnasium.make("HalfCheetah-v5").unwrapped
    env.reset(seed=0)
    data, family = env.data, running("cheetah_vel")
    state = torch.from_numpy(np.concatenate([[data.time], data.qpos, data.qvel])[None])
    tasks, noise = family.sample("id", torch.arange(1)), Rows.of(0, torch.arange(1))
    rng = np.random.default_rng(1)
    for _ in range(30):
        action = rng.uniform(-1, 1, 6).astype(np.float32)
        env.step(action)
        state = family.step(tasks, state, torch.from_numpy(action)[None], noise).state
    np.testing.assert_allclose(state[0, 1:10].numpy(), data.qpos, atol=1e-8)


def test_cheetah_is_half_cheetah_v5() -> None:
    both = Beside(
        "cheetah_dir", {"direction": torch.ones(1)}, "HalfCheetah-v5", ctrl_cost_weight=0.05
    )
    both.check_observations()
    np.testing.assert_allclose(*np.transpose(both.rewards), atol=1e-5)


def test_the_speed_is_paid_by_its_distance_from_the_tasks() -> None:
    both = Beside("cheetah_vel", {"speed": torch.full((1,), 0.5)}, "HalfCheetah-v5")
    both.check_observations()
    for (ours, _), (velocity, effort) in zip(both.rewards, both.expected, strict=True):
        assert ours == pytest.approx(-abs(velocity[0] - 0.5) - 0.05 * effort, abs=1e-5)


def test_ant_is_ant_v5_without_contact_forces() -> None:
    """The reward is by the torso's place after the step; Gymnasium reads one of the integrator's last stage."""
    direction = torch.tensor([[0.6, 0.8]])
    both = Beside(
        "ant_dir", {"direction": direction}, "Ant-v5", include_cfrc_ext_in_observation=False
    )
    both.check_observations()
    for (ours, _), (velocity, effort) in zip(both.rewards, both.expected, strict=True):
        along = velocity @ direction[0].double().numpy()
        assert ours == pytest.approx(along - 0.5 * effort + 1, abs=1e-5)


def test_walker_is_walker2d_v5() -> None:
    both = Beside("walker_params", {}, "Walker2d-v5", ctrl_cost_weight=1e-3)
    both.check_observations()
    paid = [reward for reward in both.rewards if reward[1] == reward[1]]
    ours, theirs = np.transpose(paid)
    np.testing.assert_allclose(ours[:-1], theirs[:-1], atol=1e-5)
    assert len(paid) < STEPS  # it fell
    assert ours[-1] - theirs[-1] == pytest.approx(
        1.0, abs=1e-5
    )  # Gymnasium pays nothing for the last step upright


@pytest.mark.parametrize(
    ("spec", "name"),
    [("cheetah_vel", "HalfCheetah-v5"), ("ant_goal", "Ant-v5"), ("walker_params", "Walker2d-v5")],
)
def test_episodes_begin_as_gymnasiums_do(spec: str, name: str) -> None:
    """Each coordinate of 400 first states has Gymnasium's distribution."""
    family = running(spec)
    env = gymnasium.make(name).unwrapped
    theirs = []
    for seed in range(400):
        env.reset(seed=seed)
        theirs.append(np.concatenate([env.data.qpos, env.data.qvel]))
    tasks = family.sample("id", torch.arange(400))
    ours, _ = family.reset(tasks, Rows.of(1, torch.arange(400)))
    for mine, other in zip(ours[:, 1:].numpy().T, np.transpose(theirs), strict=True):
        assert stats.ks_2samp(mine, other).pvalue > LEAST_P


# --- tasks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "low", "high"),
    [("train", 0, 3), ("id", 0, 3), ("shift/speed/1", 3, 3.5), ("shift/speed/4", 3, 6)],
)
def test_speeds_are_uniform(split: str, low: float, high: float) -> None:
    found = goals("cheetah_vel", split, "speed")
    assert stats.kstest(found, stats.uniform(low, high - low).cdf).pvalue > LEAST_P


def test_a_cheetah_runs_forwards_or_backwards() -> None:
    for split in ("train", "id", "shift/friction/4"):
        assert make_family("cheetah_dir").support(split) == 2
        assert goals("cheetah_dir", split, "direction", 4).tolist() == [1, -1, 1, -1]


def test_directions_are_uniform_on_the_circle() -> None:
    x, y = goals("ant_dir", "id", "direction").T
    np.testing.assert_allclose(np.hypot(x, y), 1, atol=1e-6)
    turn = np.arctan2(y, x) / (2 * np.pi) % 1
    assert stats.kstest(turn, "uniform").pvalue > LEAST_P


@pytest.mark.parametrize(("level", "turn"), [(0, 0.0), (2, 22.5), (4, 45.0)])
def test_shifted_directions_lie_between_the_four_trained_ones(level: int, turn: float) -> None:
    x, y = goals("ant_dir:train=four", f"shift/turn/{level}", "direction", 200).T
    away = np.degrees(np.arctan2(y, x)) % 90
    np.testing.assert_allclose(np.minimum(away, 90 - away), turn, atol=1e-3)
    assert len(np.unique(np.round(away) % 90)) == (1 if turn in (0, 45) else 2)


@pytest.mark.parametrize(
    ("split", "nearest", "farthest"),
    [("train", 0, 3), ("shift/ring/1", 3, 3.25), ("shift/ring/4", 3, 5)],
)
def test_goals_are_uniform_in_the_ring(split: str, nearest: float, farthest: float) -> None:
    area = (goals("ant_goal", split, "goal") ** 2).sum(1)
    uniform = stats.uniform(nearest**2, farthest**2 - nearest**2)
    assert stats.kstest(area, uniform.cdf).pvalue > LEAST_P


def test_the_ant_is_paid_by_its_distance_along_both_sides() -> None:
    family = running("ant_goal")
    tasks = Tasks(torch.arange(1), {"goal": torch.tensor([[1.0, -2.0]])})
    state, _ = family.reset(tasks, noise := Rows.of(0, torch.arange(1)))
    outcome = family.step(tasks, state, torch.full((1, 8), 0.5), noise)
    place = outcome.state[0, 1:3]
    expected = -(place - torch.tensor([1.0, -2.0])).abs().sum() - 0.1 * 8 * 0.25
    assert float(outcome.reward) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("split", "least", "largest"),
    [("train", 0, 3), ("shift/exponent/1", 3, 3.5), ("shift/exponent/4", 3, 5)],
)
def test_factors_of_bodies_are_powers(split: str, least: float, largest: float) -> None:
    for field, base in (("body_mass", 1.5), ("dof_damping", 1.3)):
        exponent = np.log(goals("walker_params", split, field, 300)) / np.log(base)
        size = stats.uniform(least, largest - least)
        assert stats.kstest(np.abs(exponent).ravel(), size.cdf).pvalue > LEAST_P
        assert abs((exponent > 0).mean() - 0.5) < 0.05


@pytest.mark.parametrize(
    ("axis", "fields"),
    [
        ("friction", {"geom_friction"}),
        ("mass", {"body_mass", "body_inertia"}),
        ("motor", {"actuator_gear"}),
    ],
)
def test_axes_of_bodies_multiply_what_the_task_has(axis: str, fields: set[str]) -> None:
    for spec in ("cheetah_vel", "walker_params"):
        family = running(spec)
        value = family.axes[axis].values[4]
        plain, shifted = (
            family.sample(split, torch.arange(3)).params for split in ("id", f"shift/{axis}/4")
        )
        assert shifted.keys() == plain.keys() | fields
        for name, found in shifted.items():
            before = plain.get(name, torch.ones_like(found))
            torch.testing.assert_close(found, before * (value if name in fields else 1.0))


def test_an_ant_that_lies_on_its_back_has_fallen_where_episodes_end() -> None:
    low = torch.tensor([[0.0, 0.0, 0.19, *[0.0] * 12]], dtype=torch.float64)
    assert bool(running("ant_dir").fallen(low))
    assert running("ant_goal").fallen(low) is None
    assert not make_family("ant_goal").ends_early
