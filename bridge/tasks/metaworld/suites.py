"""Meta-World's environments by name, its suites of them, and what its resets ask of where things are placed.

Names and suites are those of metaworld 3.1.1 (Yu et al. 2019, "Meta-World: A Benchmark and Evaluation for Multi-Task
and Meta Reinforcement Learning", arXiv 1910.10897, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

DISTANCES: Mapping[str, float] = {
    "assembly-v3": 0.1,
    "basketball-v3": 0.15,
    "bin-picking-v3": 0.0,
    "box-close-v3": 0.25,
    "button-press-topdown-v3": 0.0,
    "button-press-topdown-wall-v3": 0.0,
    "button-press-v3": 0.0,
    "button-press-wall-v3": 0.0,
    "coffee-button-v3": 0.0,
    "coffee-pull-v3": 0.15,
    "coffee-push-v3": 0.15,
    "dial-turn-v3": 0.0,
    "disassemble-v3": 0.1,
    "door-close-v3": 0.0,
    "door-lock-v3": 0.0,
    "door-open-v3": 0.0,
    "door-unlock-v3": 0.0,
    "drawer-close-v3": 0.0,
    "drawer-open-v3": 0.0,
    "faucet-close-v3": 0.0,
    "faucet-open-v3": 0.0,
    "hammer-v3": 0.0,
    "hand-insert-v3": 0.15,
    "handle-press-side-v3": 0.0,
    "handle-press-v3": 0.0,
    "handle-pull-side-v3": 0.0,
    "handle-pull-v3": 0.0,
    "lever-pull-v3": 0.0,
    "peg-insert-side-v3": 0.1,
    "peg-unplug-side-v3": 0.0,
    "pick-out-of-hole-v3": 0.15,
    "pick-place-v3": 0.15,
    "pick-place-wall-v3": 0.15,
    "plate-slide-back-side-v3": 0.0,
    "plate-slide-back-v3": 0.0,
    "plate-slide-side-v3": 0.0,
    "plate-slide-v3": 0.0,
    "push-back-v3": 0.15,
    "push-v3": 0.15,
    "push-wall-v3": 0.15,
    "reach-v3": 0.15,
    "reach-wall-v3": 0.15,
    "shelf-place-v3": 0.1,
    "soccer-v3": 0.15,
    "stick-pull-v3": 0.1,
    "stick-push-v3": 0.1,
    "sweep-into-v3": 0.15,
    "sweep-v3": 0.0,
    "window-close-v3": 0.0,
    "window-open-v3": 0.0,
}
"""All environments. The object starts at least as far from its goal, in metres in the plane: a reset draws its places
until they are. 0: any places will do."""

HOLES: Mapping[str, tuple[float, float]] = {"sweep-into-v3": (0.0, 0.84)}
"""Goals that never move, in metres in the plane; the environment ignores the goal among its places."""


class Suite(NamedTuple):
    """Environments that are trained on, and others that are not."""

    trained: tuple[str, ...]
    unseen: tuple[str, ...]
    goal_seen: bool
    """True if observations have the goal, as in multi-task suites."""


_ML10 = Suite(
    trained=(
        "reach-v3",
        "push-v3",
        "pick-place-v3",
        "door-open-v3",
        "drawer-close-v3",
        "button-press-topdown-v3",
        "peg-insert-side-v3",
        "window-open-v3",
        "sweep-v3",
        "basketball-v3",
    ),
    unseen=(
        "drawer-open-v3",
        "door-close-v3",
        "shelf-place-v3",
        "sweep-into-v3",
        "lever-pull-v3",
    ),
    goal_seen=False,
)
_MT10 = Suite(
    trained=(
        "reach-v3",
        "push-v3",
        "pick-place-v3",
        "door-open-v3",
        "drawer-open-v3",
        "drawer-close-v3",
        "button-press-topdown-v3",
        "peg-insert-side-v3",
        "window-open-v3",
        "window-close-v3",
    ),
    unseen=(),
    goal_seen=True,
)


def suite(name: str, env: str) -> Suite:
    """Return the suite ``ml10`` or ``mt10``, or ``ml1``, which has the environment ``env`` alone."""
    return {"ml10": _ML10, "mt10": _MT10}.get(name, Suite((env,), (), goal_seen=False))
