"""Shifts of observations and of the times of rewards, while the world, its rewards and all scores stay as they are.

* ``obs_permutation``: the coordinates of observations are moved round by one, in a share of the tasks, each scaled to
  the bounds of its new place.
* ``obs_noise``: Gaussian noise on every observation, which stays within its space.
* ``reward_delay``: rewards are withheld. Every d steps, and when an episode ends, what is owed is paid in one sum.

An agent that is given the task observes everything as it is.

Shape letters: B trials, D observation features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge import memory as tree
from bridge.protocol import Card, Step
from bridge.rng import Rows

if TYPE_CHECKING:
    from bridge.tasks.base import Space, Split, TaskFamily, Tasks

AXES = ("obs_noise", "obs_permutation", "reward_delay")
"""The axes of this file."""
OWN_VARIABLES = ("obs_permutation",)
"""The axes with a random variable of each task."""
ORDER, SD, DELAY = PARAMETERS = ("senses/order", "senses/sd", "senses/delay")
"""The parameters of tasks: the order of coordinates, the noise, and the steps from one payment to the next."""


def params(family: TaskFamily, split: Split, noise: Rows) -> dict[str, Tensor]:
    """The parameters of the senses of B tasks, ``{}`` on other axes; ``noise`` has a row a task."""
    if sd := family.value(split, "obs_noise", 0.0):
        return {SD: torch.full((len(noise),), sd, device=noise.device)}
    if (delay := int(family.value(split, "reward_delay", 1.0))) > 1:
        return {DELAY: torch.full((len(noise),), delay, device=noise.device)}
    if share := family.value(split, "obs_permutation", 0.0):
        order = torch.arange(family.observation.shape[0], device=noise.device)
        moved = noise.at("obs_permutation").uniform() < share
        return {ORDER: torch.where(moved[:, None], order.roll(1), order)}
    return {}


class Senses:
    """The senses of B rows during one episode.

    Args:
        space: the space of observations.
        params: the parameters of the tasks.
        noise: the noise of the episode's observations.
    """

    def __init__(self, space: Space, params: Mapping[str, Tensor], noise: Rows) -> None:
        self.space = space
        self.order: Int[Tensor, "B D"] | None = params.get(ORDER)
        self.sd: Float[Tensor, " B"] | None = params.get(SD)
        self.delay: Int[Tensor, " B"] | None = params.get(DELAY)
        self.noise, self.owed = noise, torch.zeros(len(noise), device=noise.device)
        self.seen: Tensor

    @classmethod
    def of(
        cls, family: TaskFamily, tasks: Tasks, noise: Rows, card: Card | None = None
    ) -> Senses | None:
        """The senses of an agent on some tasks; None if it observes everything as it is.

        Args:
            family: the simulator.
            tasks: the tasks that are played.
            noise: the noise of the episode's observations.
            card: the agent's card; None: it is given nothing.
        """
        informed = card is not None and card.clue == "task"
        if informed or not tasks.params.keys() & set(PARAMETERS):
            return None
        return cls(family.observation, tasks.params, noise)

    def first(self, obs: Tensor) -> Tensor:
        """The first observation of the episode."""
        self.seen = self.look(obs, self.noise.at("first"))
        return self.seen

    def keep(self, others: Bool[Tensor, " B"], before: Senses) -> None:
        """Let ``others`` go on with the episode that they were in."""
        self.seen = tree.where(others, before.seen, self.seen)
        self.owed = tree.where(others, before.owed, self.owed)

    def step(self, t: int | Int[Tensor, " B"], step: Step) -> Step:
        """Step ``t`` (of all rows, or one a row) as it is observed. Rows that are not live observe nothing new."""
        after = self.look(step.next_obs, self.noise.at(t))
        after = tree.where(step.acted, after, self.seen)
        observed = step._replace(
            obs=self.seen, next_obs=after, reward=self._paid(t, step.reward, step.end > 0)
        )
        self.seen = after
        return observed

    def look(self, obs: Tensor, noise: Rows) -> Tensor:
        """A state as it is observed, whatever was observed before."""
        if self.order is not None:
            obs = self._moved(obs, self.order)
        if self.sd is not None:
            obs = obs + self.sd[:, None] * noise.normal(obs.shape[1])
            obs = obs.clamp(obs.new_tensor(self.space.low), obs.new_tensor(self.space.high))
        return obs

    def _moved(self, obs: Float[Tensor, "B D"], order: Int[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Coordinates in another order, each scaled from the bounds of its place to those of its new one."""
        moved = obs.gather(1, order)
        low, high = obs.new_tensor(self.space.low), obs.new_tensor(self.space.high)
        if bool((low == low[0]).all() and (high == high[0]).all()):
            return moved
        width = (high - low).clamp(min=1e-12)  # a constant coordinate has none
        share = (moved - low[order]) / width[order]
        return (low + share * (high - low)).clamp(low, high)

    def _paid(
        self, t: int | Int[Tensor, " B"], reward: Float[Tensor, " B"], end: Bool[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        if self.delay is None:
            return reward
        self.owed = self.owed + reward
        due = end | ((t + 1) % self.delay == 0)
        paid = torch.where(due, self.owed, 0.0)
        self.owed = torch.where(due, 0.0, self.owed)
        return paid


def observed(
    steps: list[Step], family: TaskFamily, tasks: Tasks, noise: Rows, card: Card | None = None
) -> list[Step]:
    """The steps of one episode as an agent would have observed them."""
    senses = Senses.of(family, tasks, noise, card)
    if senses is None:
        return steps
    senses.first(steps[0].obs)
    return [senses.step(t, step) for t, step in enumerate(steps)]
