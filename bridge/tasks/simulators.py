"""Gymnasium environments by row, and where each of them stands."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped

if TYPE_CHECKING:
    import gymnasium

_NONE: Any = None
_ODD, _OTHER = (
    np.uint64(word).astype(np.int64) for word in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


class Setting(NamedTuple):
    """How the environment of a task is made and reset."""

    environment: Hashable
    """What makes it: rows keep an environment for each."""
    attributes: tuple[tuple[str, Any], ...] = ()
    """Attributes of the unwrapped environment (``masspole``, ``model.opt.timestep``) that are set before each reset."""
    options: dict[str, Any] | None = None
    """Options of the reset."""


def attribute(thing: Any, name: str) -> Any:
    """An attribute of ``thing``, perhaps of a part of it: ``model.opt.timestep``.

    Raises:
        AttributeError: it has none of this name.
    """
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


def begun(env: gymnasium.Env, setting: Setting, seed: int) -> Any:
    """The first observation of an episode. The seed reaches the environment, its wrappers and its action space.

    Raises:
        ValueError: the reset sets an attribute of the task to another value.
    """
    whole = env.unwrapped
    for name, value in setting.attributes:
        part, _, last = name.rpartition(".")
        setattr(attribute(whole, part) if part else whole, last, value)
    env.action_space.seed(seed)
    obs, _ = env.reset(seed=seed, options=setting.options)
    for name, value in setting.attributes:
        if (found := attribute(whole, name)) != value:
            raise ValueError(f"its reset set {name} to {found!r}, and the task has {value!r}")
    return obs


def hashed(
    mark: Int[np.ndarray, " B"], *columns: Shaped[np.ndarray, "B ..."]
) -> Int[np.ndarray, " B"]:
    """64 bits of a hash of a mark and of each row's entries of some columns, by SplitMix64's multiplications."""
    for column in columns:
        entries = column.reshape(len(mark), int(np.prod(column.shape[1:])))
        if np.issubdtype(column.dtype, np.floating):
            entries = entries.astype(np.float64).view(np.int64)
        for entry in entries.T:
            mark = (mark ^ entry) * _ODD
            mark = (mark ^ (mark >> 29)) * _OTHER
    return mark ^ (mark >> 32)


def diverged(env: gymnasium.Env) -> bool:
    """True if the simulation of an environment of MuJoCo has diverged since its reset; MuJoCo then goes on from the
    default pose, and says so in its warnings alone."""
    mujoco: Any = importlib.import_module("mujoco")
    kinds = mujoco.mjtWarning
    bad = kinds.mjWARN_BADQPOS, kinds.mjWARN_BADQVEL, kinds.mjWARN_BADQACC
    warnings = attribute(env.unwrapped, "data.warning")
    return any(warnings[int(kind)].number for kind in bad)


class Stage:
    """An environment for each row of a batch, each where the row's history leads: a cache, which changes no number.

    Args:
        make: makes the environment of a setting.
        kept: most environments that a row keeps.

    Attributes:
        obs: the last observation of each of the B rows that stand.
        info: what each row's last step returned beside it.
        terminated: True for rows whose episode has ended by itself, ``[B]``.
        truncated: True for rows whose time is up, ``[B]``.
    """

    def __init__(self, make: Callable[[Any], gymnasium.Env], kept: int) -> None:
        self.make, self.kept = make, kept
        self.obs: list[Any] = []
        self.info: list[dict[str, Any]] = []
        self.terminated = self.truncated = np.zeros(0, np.bool_)
        self._kept: list[dict[Hashable, gymnasium.Env]] = []
        self._envs: list[gymnasium.Env] = []
        self._simulated: list[bool] = []
        self._marks = np.zeros(0, np.int64)

    @property
    def over(self) -> Bool[np.ndarray, " B"]:
        """True for rows whose episode has ended."""
        return self.terminated | self.truncated

    def stand(
        self,
        marks: Int[np.ndarray, " B"],
        setting: Callable[[int], Setting],
        history: Callable[[int], tuple[int, np.ndarray | list[int]]],
    ) -> None:
        """Let the environments of B rows stand where their histories lead.

        Args:
            marks: a hash of task and history for each row.
            setting: the setting of a row.
            history: the seed of a row's reset, and the actions since.
        """
        if len(marks) != len(self._marks):
            self._resize(marks)
        for row in np.flatnonzero(self._marks != marks).tolist():
            seed, actions = history(row)
            self._marks[row] = ~marks[row]  # nowhere, if what follows raises
            self._envs[row] = env = self._made(row, found := setting(row))
            self._simulated[row] = hasattr(getattr(env.unwrapped, "data", None), "warning")
            self.obs[row] = begun(self._envs[row], found, seed)
            self.terminated[row] = self.truncated[row] = False
            for action in actions:
                self.step(row, action)
            self._marks[row] = marks[row]

    def step(self, row: int, action: Any) -> float:
        """Take a step of a row whose episode is not over, and return its reward.

        Raises:
            ValueError: MuJoCo simulates it, and could not.
        """
        env = self._envs[row]
        self.obs[row], reward, terminated, truncated, self.info[row] = env.step(action)
        if self._simulated[row] and diverged(env):
            raise ValueError("its simulation diverged, and MuJoCo put it back to its default pose")
        if terminated or truncated:  # entries of live rows are False
            self.terminated[row], self.truncated[row] = terminated, truncated
        return float(reward)

    def moved(self, marks: Int[np.ndarray, " B"]) -> None:
        """Note the marks of all rows after a step."""
        self._marks[:] = marks

    def adrift(self) -> None:
        """Let no row stand where it did, until ``moved``: some step may fail."""
        self._marks[:] = ~self._marks

    def lost(self, row: int) -> None:
        """Close the environments of a row, one of which raised."""
        for env in self._kept[row].values():
            env.close()
        self._kept[row].clear()

    def _resize(self, marks: Int[np.ndarray, " B"]) -> None:
        """Let as many rows stand as there are marks; new ones stand nowhere."""
        old, new = len(self._marks), len(marks)
        self._kept += [{} for _ in range(new - len(self._kept))]
        self.obs = (self.obs + [None] * new)[:new]
        self.info = (self.info + [{}] * new)[:new]
        self._envs = (self._envs + [_NONE] * new)[:new]
        self._simulated = (self._simulated + [False] * new)[:new]
        self._marks = np.append(self._marks[:new], ~marks[old:])
        more = np.zeros(max(0, new - old), np.bool_)
        self.terminated = np.append(self.terminated[:new], more)
        self.truncated = np.append(self.truncated[:new], more)

    def _made(self, row: int, setting: Setting) -> gymnasium.Env:
        kept = self._kept[row]
        if setting.environment not in kept:
            if len(kept) >= self.kept:
                kept.pop(next(iter(kept))).close()
            kept[setting.environment] = self.make(setting.environment)
        return kept[setting.environment]
