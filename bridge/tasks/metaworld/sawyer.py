"""One environment of Meta-World, built from its class: an episode begins with the places that its reset is given.

The registered environments are not used. In metaworld 3.1.1 the one of ML1's training tasks has the test goals, goals
of neighbouring seeds are shared, a reset ignores its seed, and a success ends an episode.
"""

from __future__ import annotations

import functools
import importlib.metadata
import pickle
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from jaxtyping import Float64

from bridge.errors import UserError
from bridge.tasks import mujoco_package


class Places(NamedTuple):
    """The bounds within which an environment places its object and its goal, of three or six coordinates in metres."""

    low: Float64[np.ndarray, " P"]
    high: Float64[np.ndarray, " P"]


class Sawyer(gymnasium.Wrapper):
    """An environment whose ``reset(options={"places": ...})`` sets where the object and the goal are.

    Args:
        name: its name, such as ``reach-v3``.
        steps: steps of an episode, after which it is truncated. Nothing else ends it.
        goal_seen: True if observations have the goal; else zeros are in its place.

    Raises:
        UserError: ``metaworld`` is not installed, or with a version of ``mujoco`` in which it does not work.
    """

    def __init__(self, name: str, steps: int, *, goal_seen: bool) -> None:
        metaworld = package()
        kind = metaworld.env_dict.ALL_V3_ENVIRONMENTS[name]
        self._arm: Any = kind()
        self._arm.max_path_length = steps
        super().__init__(self._arm)
        self._task = functools.partial(metaworld.Task, name)
        self._about = {"env_cls": kind, "partially_observable": not goal_seen}

    @property
    def places(self) -> Places:
        """The bounds of its places."""
        space = self._arm._random_reset_space
        return Places(space.low, space.high)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, which depends on the places alone: nothing is drawn by ``seed``."""
        assert options is not None
        places = options["places"][: len(self.places.low)]
        self._arm.set_task(self._task(pickle.dumps(self._about | {"rand_vec": places})))
        return self.env.reset()


@functools.cache
def places_of(name: str) -> Places:
    """Return the bounds of an environment's places, which it is built for, once a process.

    Raises:
        UserError: as ``Sawyer``.
    """
    env = Sawyer(name, 1, goal_seen=False)
    env.close()
    return env.places


def package() -> Any:
    """Return the package ``metaworld``.

    Raises:
        UserError: it is not installed, or with a version of ``mujoco`` in which it does not work.
    """
    mujoco_package.package("Meta-World's environments", "metaworld")
    try:
        import metaworld
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS  # noqa: F401 (older ones have none)
    except ImportError as error:
        raise UserError(
            f"Meta-World's environments need metaworld 3.1 or newer ({error}). Install it: pip install "
            "'metabridge[metaworld]'"
        ) from error
    return metaworld


def version() -> str:
    """Return the version of ``metaworld``; "none" if it is not installed."""
    try:
        return importlib.metadata.version("metaworld")
    except importlib.metadata.PackageNotFoundError:
        return "none"
