"""Posterior sampling for 2D navigation: a reward reveals the distance to the goal, and three distances the goal.

With position p, distance d and goal g, the number ``z = |p|^2 - d^2 = 2 p.g - |g|^2`` is linear in p. So the moments of
(p, z) are sufficient statistics: the goal lies on the circle about the mean position with squared radius ``|mean p|^2 -
mean z``; positions on one line leave two of its points, mirror images of each other; three off a line leave one.

The prior is that of training, uniform on a square or its frame. The draw is uniform over the part of the circle, of the
two points or (without observations) of the plane that is in the prior's support.

Shape letters: B trials, T tries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bridge.protocol import Clues, Step, Trial
from bridge.references.base import filled, reference_card
from bridge.references.plane.walkers import Walker
from bridge.rng import Rows
from bridge.tasks.goal_plane import Points, Scalars, Vectors, length, shell
from bridge.tasks.point_nav import PointNav

_TRIES = 64
"""Points of a circle drawn to find one in the prior's support; hardly any circle has all of them outside."""
_SPREAD = 1e-8
"""Smaller squared distances from a line (summed over steps) are rounding errors."""

Memory = dict[str, Any]
"""``seen``: the ``Moments``; ``target [B, 2]``: the draw of this episode."""

Bounds = tuple[float, float]
"""The least and greatest ``max(|x|, |y|)`` of the prior's goals."""


class Moments(NamedTuple):
    """Moments of the positions p and the numbers z of a trial, in float64."""

    count: Float[Tensor, " B"]
    place: Points
    """Mean position."""
    z: Float[Tensor, " B"]
    """Mean of z."""
    spread: Float[Tensor, "B 3"]
    """Sums of squares and products of centred positions: xx, xy, yy."""
    pull: Points
    """Sums of products of centred positions with z."""


class NavPsrl(Walker):
    """Posterior sampling that draws once an episode and goes there (Osband et al. 2013)."""

    card = reference_card("psrl", "heuristic")

    def __init__(self, family: PointNav, split: str) -> None:
        super().__init__(family)
        self.bounds = family.bounds("train")

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """No observations."""
        zero, pair, triple = (filled(rng, 0.0, *shape).double() for shape in ((), (2,), (3,)))
        return {"seen": Moments(zero, pair, zero, triple, pair), "target": pair.float()}

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """A new draw."""
        seen, prior = memory["seen"], shell(rng.at("prior").uniform(2), *self.bounds)
        drawn = within(draw(seen, self.bounds, rng), self.bounds).float()
        return memory | {"target": torch.where(seen.count[:, None] > 0, drawn, prior)}

    def learn(self, memory: Memory, step: Step) -> Memory:
        """Add a distance; a reward that no distance pays counts as the nearest possible one."""
        distance = self.family.distance(step.reward.double())
        return memory | {"seen": add(memory["seen"], step.next_obs.double(), distance)}


def add(seen: Moments, place: Points, distance: Float[Tensor, " B"]) -> Moments:
    """The moments with one more observation (Welford's update)."""
    count = seen.count + 1
    z = _dot(place, place) - distance * distance
    before, z_before = place - seen.place, z - seen.z
    mean = seen.place + before / count[:, None]
    after = place - mean
    products = before[:, [0, 0, 1]] * after[:, [0, 1, 1]]
    pull = seen.pull + after * z_before[:, None]
    return Moments(count, mean, seen.z + z_before / count, seen.spread + products, pull)


def draw(seen: Moments, bounds: Bounds, rng: Rows) -> Points:
    """A goal that agrees with the observations (one, one of two, or of a circle), in the prior's support if any."""
    radius2 = (_dot(seen.place, seen.place) - seen.z).clamp(min=0)
    xx, xy, yy = seen.spread.unbind(-1)
    half, mean = (xx - yy) / 2, (xx + yy) / 2
    root = (half * half + xy * xy).sqrt()
    wide, narrow = mean + root, mean - root
    steep = torch.stack([xy, root - half])
    along = _unit(torch.where(half > 0, torch.stack([root + half, xy]), steep).T)
    across = torch.stack([-along[:, 1], along[:, 0]], -1)
    line, plane = wide > _SPREAD, narrow > _SPREAD

    # the goal from the mean position, in lengths along and across the line of positions
    far = _dot(along, seen.pull) / (2 * wide.clamp(min=_SPREAD)) - _dot(along, seen.place)
    off = _dot(across, seen.pull) / (2 * narrow.clamp(min=_SPREAD)) - _dot(across, seen.place)
    height = (radius2 - far * far).clamp(min=0).sqrt()
    mirror = torch.where(rng.at("mirror").uniform(_TRIES) < 0.5, -1.0, 1.0) * height[:, None]
    middle = seen.place + far[:, None] * along
    two = middle[:, None] + mirror[..., None] * across[:, None]
    one = middle + off[:, None] * across
    direction = _unit(rng.at("angle").normal(_TRIES, 2).double())
    circle = seen.place[:, None] + radius2.sqrt()[:, None, None] * direction

    tried = torch.where(line[:, None, None], two, circle)
    first = inside(tried, bounds).to(torch.uint8).argmax(-1)
    drawn = tried.gather(1, first[:, None, None].expand(-1, 1, 2)).squeeze(1)
    return torch.where(plane[:, None], one, drawn)


def inside(goal: Vectors, bounds: Bounds) -> Tensor:
    """True if the goal is in the prior's support, up to rounding."""
    side = goal.abs().amax(-1)
    return (side >= bounds[0] - 1e-5) & (side <= bounds[1] + 1e-5)


def within(goal: Points, bounds: Bounds) -> Points:
    """The goal, moved on the line through the origin into the prior's support."""
    side = goal.abs().amax(-1, keepdim=True).clamp(min=1e-9)
    return goal * (side.clamp(*bounds) / side)


def _dot(a: Vectors, b: Vectors) -> Scalars:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1]


def _unit(vector: Vectors) -> Vectors:
    """The vector scaled to length 1; (1, 0) for the zero vector."""
    size = length(vector)[..., None]
    return torch.where(size > 0, vector / size.clamp(min=1e-300), vector.new_tensor([1.0, 0.0]))
