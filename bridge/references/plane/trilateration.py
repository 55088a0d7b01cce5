"""Posterior sampling for 2D navigation: every reward tells the distance to the goal, and three distances the goal.

With position p, distance d and goal g, the number ``z = |p|^2 - d^2 = 2 p.g - |g|^2`` is linear in p. So all that a
trial has shown is in the moments of (p, z): the goal lies on the circle about the mean position with squared radius
``|mean p|^2 - mean z``; positions on one line leave two of its points, the mirror images; three off a line leave one.

The prior is that of training, uniform on a square or its frame. Of the circle, of the two points, or of the prior where
nothing was seen, the draw is even over what the prior has.

Shape letters: B trials, T tries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bridge import memory as tree
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.base import Reference
from bridge.rng import Rows
from bridge.tasks.goal_plane import shell
from bridge.tasks.point_nav import PointNav

_TRIES = 64
"""Points of a circle that are drawn to find one that the prior has; a circle that keeps all outside hardly occurs."""
_SPREAD = 1e-8
"""Squared distances from a line below this (summed over steps) are rounding."""


class Moments(NamedTuple):
    """Of the positions p and the numbers z that a trial has shown, in float64."""

    count: Float[Tensor, " B"]
    place: Float[Tensor, "B 2"]
    """Mean position."""
    z: Float[Tensor, " B"]
    """Mean of z."""
    spread: Float[Tensor, "B 3"]
    """Sums of squares and products of centred positions: xx, xy, yy."""
    pull: Float[Tensor, "B 2"]
    """Sums of products of centred positions with z."""


class Memory(NamedTuple):
    """What was seen, and where this episode goes."""

    seen: Moments
    target: Float[Tensor, "B 2"]


class NavPsrl(Reference):
    """Posterior sampling that draws once an episode and goes there (Osband et al. 2013)."""

    def __init__(self, family: PointNav, split: str) -> None:
        self.card = Card(
            method="psrl",
            reference=True,
            supervision="prior",
            decode_rule="rule",
            exact_reference="heuristic",
        )
        self.family, self.bounds = family, family.bounds("train")

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """Nothing seen."""
        zero = torch.zeros(len(rng), dtype=torch.float64, device=rng.device)
        pair, triple = zero[:, None].repeat(1, 2), zero[:, None].repeat(1, 3)
        return Memory(Moments(zero, pair, zero, triple, pair), pair.float())

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """A new draw."""
        prior = shell(rng.at("prior").uniform(2), *self.bounds)
        drawn = within(draw(memory.seen, self.bounds, rng), self.bounds).float()
        return memory._replace(target=torch.where(memory.seen.count[:, None] > 0, drawn, prior))

    def act(
        self, memory: Memory, obs: Float[Tensor, "B 2"], rng: Rows, *, explore: bool
    ) -> Decision:
        """One step nearer to the draw."""
        return Decision(self.family.towards(memory.target, obs, {}))

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """One distance more; a reward that no distance pays is read as the nearest that one does."""
        seen = add(memory.seen, step.next_obs.double(), self.family.distance(step.reward.double()))
        return tree.where(step.live, memory._replace(seen=seen), memory)


def add(seen: Moments, place: Float[Tensor, "B 2"], distance: Float[Tensor, " B"]) -> Moments:
    """One sighting more (Welford's update)."""
    count = seen.count + 1
    z = _dot(place, place) - distance * distance
    before, z_before = place - seen.place, z - seen.z
    mean = seen.place + before / count[:, None]
    after = place - mean
    products = torch.stack(
        [before[:, 0] * after[:, 0], before[:, 0] * after[:, 1], before[:, 1] * after[:, 1]], -1
    )
    pull = seen.pull + after * z_before[:, None]
    return Moments(count, mean, seen.z + z_before / count, seen.spread + products, pull)


def draw(seen: Moments, bounds: tuple[float, float], rng: Rows) -> Float[Tensor, "B 2"]:
    """A goal that agrees with what was seen: the one, one of the two, or a point of the circle; of the prior if any."""
    radius2 = (_dot(seen.place, seen.place) - seen.z).clamp(min=0)
    xx, xy, yy = seen.spread.unbind(-1)
    half, mean = (xx - yy) / 2, (xx + yy) / 2
    root = (half * half + xy * xy).sqrt()
    wide, narrow = mean + root, mean - root
    along = _unit(
        torch.where(half > 0, torch.stack([root + half, xy]), torch.stack([xy, root - half])).T
    )
    across = torch.stack([-along[:, 1], along[:, 0]], -1)
    line, plane = wide > _SPREAD, narrow > _SPREAD

    # the goal from the mean position, in lengths along and across the line of positions
    far = _dot(along, seen.pull) / (2 * wide.clamp(min=_SPREAD)) - _dot(along, seen.place)
    off = _dot(across, seen.pull) / (2 * narrow.clamp(min=_SPREAD)) - _dot(across, seen.place)
    height = (radius2 - far * far).clamp(min=0).sqrt()
    mirror = torch.where(rng.at("mirror").uniform(_TRIES) < 0.5, -1.0, 1.0) * height[:, None]
    two = (
        seen.place[:, None]
        + far[:, None, None] * along[:, None]
        + mirror[..., None] * across[:, None]
    )
    one = seen.place + far[:, None] * along + off[:, None] * across
    circle = seen.place[:, None] + radius2.sqrt()[:, None, None] * _unit(
        rng.at("angle").normal(_TRIES, 2).double()
    )

    tried = torch.where(line[:, None, None], two, circle)
    first = inside(tried, bounds).to(torch.uint8).argmax(-1)
    drawn = tried.gather(1, first[:, None, None].expand(-1, 1, 2)).squeeze(1)
    return torch.where(plane[:, None], one, drawn)


def inside(goal: Float[Tensor, "*B 2"], bounds: tuple[float, float]) -> Tensor:
    """Whether the prior has this goal, up to rounding."""
    side = goal.abs().amax(-1)
    return (side >= bounds[0] - 1e-5) & (side <= bounds[1] + 1e-5)


def within(goal: Float[Tensor, "B 2"], bounds: tuple[float, float]) -> Float[Tensor, "B 2"]:
    """The goal, or where the prior has none there, the one before which it lies as seen from the origin."""
    side = goal.abs().amax(-1, keepdim=True).clamp(min=1e-9)
    return goal * (side.clamp(*bounds) / side)


def _dot(a: Float[Tensor, "*B 2"], b: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B"]:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1]


def _unit(vector: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
    """Of length 1; (1, 0) where there is no direction."""
    size = _dot(vector, vector).sqrt()[..., None]
    return torch.where(size > 0, vector / size.clamp(min=1e-300), vector.new_tensor([1.0, 0.0]))
