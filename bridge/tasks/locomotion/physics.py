"""MuJoCo, batched: many bodies take a step at once, by the package's own threaded rollout.

A state is a vector of numbers, and a step a function of state and action alone: MuJoCo's solver begins each step anew
instead of where the last one ended. That changes less than rounding does between two versions of MuJoCo.

Shape letters: B rows, S state, A motors, P positions, V velocities.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import importlib.resources
from collections import OrderedDict
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from bridge.tasks import mujoco_package

State = Float[np.ndarray, "B S"]
"""Time in seconds, positions and velocities, in MuJoCo's own order and units."""
Factors = Mapping[str, Float[np.ndarray, "B entries"]]
"""Factors on fields of each row's model, such as ``body_mass``: a single one, or one for each entry of the field."""

_KEPT = 1_024
"""Most bodies that are kept, or twice as many as a batch has rows, if that is more."""
_CHUNKS = 16
"""Parts that each thread's share of a batch is cut into: the last one to end keeps all others waiting."""
_LATE = 1e-6
"""Seconds by which the clocks of rows may differ from what they should be, by rounding."""


class DivergedError(Exception):
    """A simulation that diverged, which MuJoCo has put back to its default pose."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row}")
        self.row = row


def _silent(_warning: str) -> None:
    """In place of MuJoCo's own handler, which writes MUJOCO_LOG.TXT into the working folder; ``step`` looks itself."""


class Physics:
    """A robot of Gymnasium's, simulated in batches.

    Args:
        file: the name of its model among Gymnasium's assets.
        substeps: simulated steps of a step.

    Attributes:
        model: its MuJoCo model.
        dt: seconds of a step.
        start: the state in which it is built, ``[S]``.
    """

    def __init__(self, file: str, substeps: int) -> None:
        self.mujoco = mujoco_package.package("Ant, cheetah and walker", "mujoco")
        self.mujoco.set_mju_user_warning(_silent)
        with importlib.resources.as_file(_model_file(file)) as path:
            self.model = self.mujoco.MjModel.from_xml_path(str(path))
        self.substeps = substeps
        self.dt: float = self.model.opt.timestep * substeps
        self.start = np.concatenate([[0.0], self.model.qpos0, np.zeros(self.model.nv)])
        self._bodies: OrderedDict[bytes, Any] = OrderedDict()
        self._threads = max(1, torch.get_num_threads())
        pool = self._threads if self._threads > 1 else 0  # 0: on the thread that calls
        self._pool = self.mujoco.rollout.Rollout(nthread=pool)
        self._data = [self.mujoco.MjData(self.model) for _ in range(self._threads)]

    def step(self, state: State, action: Float[np.ndarray, "B A"], factors: Factors) -> State:
        """Return the states after a step.

        Raises:
            DivergedError: the simulation of a row did.
        """
        rows, size = state.shape
        control = np.repeat(action[:, None, :].astype(np.float64), self.substeps, 1)
        after = np.empty((rows, self.substeps, size))
        self._pool.rollout(
            self._models(rows, factors),
            self._data,
            np.ascontiguousarray(state),
            control,
            nstep=self.substeps,
            state=after,
            sensordata=np.empty((rows, self.substeps, self.model.nsensordata)),
            chunk_size=max(1, rows // (_CHUNKS * self._threads)),
            skip_checks=True,  # of shapes, which are right here and cost a tenth of the time
        )
        new = after[:, -1]
        late = np.abs(new[:, 0] - state[:, 0] - self.dt) > _LATE
        if late.any() or not np.isfinite(new).all():
            raise DivergedError(int((late | ~np.isfinite(new).all(1)).argmax()))
        return np.ascontiguousarray(new)

    def _models(self, rows: int, factors: Factors) -> list[Any]:
        """The model of each row."""
        if not factors:
            return [self.model] * rows
        names = sorted(factors)
        flat = np.concatenate([factors[name].reshape(rows, -1) for name in names], 1)
        return [self._body(names, flat[row].tobytes(), factors, row) for row in range(rows)]

    def _body(self, names: list[str], values: bytes, factors: Factors, row: int) -> Any:
        """The model with the factors of one row."""
        key = ",".join(names).encode() + values
        if key not in self._bodies:
            body = copy.copy(self.model)
            for name in names:
                field, factor = getattr(body, name), factors[name][row]
                field *= factor if factor.size == 1 else factor.reshape(field.shape)
            self.mujoco.mj_setConst(body, self._data[0])
            self._bodies[key] = body
            if len(self._bodies) > max(_KEPT, 2 * len(factors[names[0]])):
                self._bodies.popitem(last=False)
        self._bodies.move_to_end(key)
        return self._bodies[key]


def _model_file(file: str) -> Traversable:
    return importlib.resources.files("gymnasium") / "envs" / "mujoco" / "assets" / file


@functools.cache
def model_digest(file: str) -> str:
    """Return eight hex digits of a hash of a robot's model."""
    return hashlib.sha256(_model_file(file).read_bytes()).hexdigest()[:8]


@functools.cache
def physics(file: str, substeps: int) -> Physics:
    """Return the physics of a robot, made once a process."""
    return Physics(file, substeps)
