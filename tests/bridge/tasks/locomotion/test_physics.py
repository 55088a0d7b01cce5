"""Steps of MuJoCo in batches: equal to its own loop, whatever the batch, the threads and the bodies."""

import copy
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from bridge.errors import UserError
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.tasks import mujoco_package
from bridge.tasks.locomotion import physics
from bridge.tasks.locomotion.physics import DivergedError, Physics


def own_loop(
    model: mujoco.MjModel, state: np.ndarray, action: np.ndarray, substeps: int
) -> np.ndarray:
    """One row by ``mj_step``."""
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    data.ctrl[:] = action
    mujoco.mj_step(model, data, substeps)
    after = np.empty_like(state)
    mujoco.mj_getState(model, data, after, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    return after


def states(made: Physics, rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    state = np.repeat(made.start[None], rows, 0)
    state[:, 1:] += 0.1 * rng.normal(size=(rows, len(made.start) - 1))
    return state, rng.uniform(-1, 1, (rows, made.model.nu))


@pytest.mark.parametrize(
    ("file", "substeps"), [("half_cheetah.xml", 5), ("ant.xml", 5), ("walker2d_v5.xml", 4)]
)
def test_a_batch_steps_as_single_rows_do(file: str, substeps: int) -> None:
    made = Physics(file, substeps)
    state, action = states(made, 5)
    after = made.step(state, action, {})
    for row in range(5):
        np.testing.assert_array_equal(
            after[row], own_loop(made.model, state[row], action[row], substeps)
        )
    np.testing.assert_array_equal(made.step(state[3:4], action[3:4], {}), after[3:4])


def test_threads_change_nothing() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = Physics("ant.xml", 5)
        torch.set_num_threads(2)
        two = Physics("ant.xml", 5)
    finally:
        torch.set_num_threads(before)
    state, action = states(one, 24)
    np.testing.assert_array_equal(one.step(state, action, {}), two.step(state, action, {}))


def test_factors_are_those_of_a_model_with_edited_masses() -> None:
    made = Physics("half_cheetah.xml", 5)
    state, action = states(made, 2)
    heavy = copy.copy(made.model)
    heavy.body_mass *= 2.0
    heavy.body_inertia *= 2.0
    mujoco.mj_setConst(heavy, mujoco.MjData(heavy))
    factor = np.array([[1.0], [2.0]])
    after = made.step(state, action, {"body_inertia": factor, "body_mass": factor})
    for row, model in enumerate((made.model, heavy)):
        np.testing.assert_array_equal(after[row], own_loop(model, state[row], action[row], 5))
    assert np.abs(after[1] - own_loop(made.model, state[1], action[1], 5)).max() > 1e-3


def test_each_entry_of_a_field_has_a_factor_of_its_own() -> None:
    made = Physics("walker2d_v5.xml", 4)
    factor = np.ones((1, made.model.nbody * 3))
    factor[0, 3 * 2 + 1] = 5.0
    made.step(*states(made, 1), {"body_inertia": factor})
    (body,) = made._bodies.values()
    expected = made.model.body_inertia.copy()
    expected[2, 1] *= 5
    np.testing.assert_array_equal(body.body_inertia, expected)


def test_few_bodies_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physics, "_KEPT", 3)
    made = Physics("half_cheetah.xml", 5)
    state, action = states(made, 1)
    factors = [np.array([[factor]]) for factor in np.linspace(1, 2, 8)]
    after = [made.step(state, action, {"body_mass": factor}) for factor in factors]
    assert len(made._bodies) == 3
    again = [made.step(state, action, {"body_mass": factor}) for factor in factors]
    np.testing.assert_array_equal(after, again)


def test_all_bodies_of_a_large_batch_are_kept_for_its_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(physics, "_KEPT", 3)
    made = Physics("half_cheetah.xml", 5)
    made.step(*states(made, 8), {"body_mass": np.linspace(1, 2, 8)[:, None]})
    assert len(made._bodies) == 8


def test_a_row_that_diverges_is_named_although_mujoco_puts_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = Physics("half_cheetah.xml", 5)
    state, action = states(made, 3)
    state[1, -1] = 1e12
    with pytest.raises(DivergedError) as error:
        made.step(state, action, {})
    assert error.value.row == 1
    assert not list(tmp_path.iterdir())  # no log of MuJoCo's


def test_the_task_that_diverges_is_named() -> None:
    family = make_family("cheetah_vel")
    tasks, noise = family.sample("id", torch.arange(5, 8)), Rows.of(0, torch.arange(3))
    state, _ = family.reset(tasks, noise)
    state[2, -1] = 1e12
    with pytest.raises(UserError, match=r"task 7 of cheetah_vel \(row 2\) diverged at 0\.00 s"):
        family.step(tasks, state, torch.zeros(3, 6), noise)


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(UserError, match=r"pip install 'metabridge\[mujoco\]'"):
        mujoco_package.package("Robots", "mujoco")


@pytest.mark.parametrize("version", ["3.2.9", "3.5.0", "4.0.0"])
def test_versions_that_move_bodies_differently_are_refused(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mujoco, "__version__", version)
    with pytest.raises(UserError, match=rf"found {version}"):
        mujoco_package.package("Robots", "mujoco")
