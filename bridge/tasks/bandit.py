"""Bandits: k arms, n pulls, each pull a one-step episode.

Arms (``arms=``), each a published distribution of its own:

* ``bernoulli``: means U[0, 1], rewards 0 or 1 (Duan et al. 2016, "RL^2", section 3.1).
* ``gaussian``: means U[0, 1], rewards N(mean, 0.3^2) (Lee et al. 2023, "Supervised Pretraining Can Learn In-Context
  Reinforcement Learning"; the published code uses its ``var 0.3`` as a standard deviation).
* ``dependent_{uniform,easy,medium,hard}``: two Bernoulli arms with means p and 1-p; p is U[0, 1], or one of {.1, .9},
  {.25, .75}, {.4, .6} (Wang et al. 2016, "Learning to reinforcement learn", section 3.1).
* ``one_best_{easy,hard}``: one Bernoulli arm of mean 1/2 + D/2 and all others of 1/2 - D/2, with D = .5 (published with
  k=4) or .2 (k=5), n=100 (Krishnamurthy et al. 2024, "Can large language models explore in-context?",
  arXiv 2403.15371). The tasks are a list of k: arm i is best in task i.

``reward_noise`` exists for Gaussian arms alone: flipping Bernoulli rewards with some probability only moves the means
towards 1/2, as the axis ``gap`` does. ``prior`` and ``reward_sign`` exist for independent arms alone: neither has a
meaning on a short list of tasks, of which no share of a quarter can be negated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from bridge.errors import UserError
from bridge.protocol import Step, Trial
from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.base import (
    Axis,
    Discrete,
    Outcome,
    Split,
    TaskFamily,
    Tasks,
    device_zeros,
    row_entries,
)
from bridge.tasks.description import Description

GAUSSIAN_SD = 0.3
MOST_ARMS, MOST_PULLS = 10_000, 100_000
"""Larger trials do not fit into the memory that the evaluator plans for."""
_TWO_POINT = {"dependent_easy": 0.9, "dependent_medium": 0.75, "dependent_hard": 0.6}
_DISTANCE = {"one_best_hard": 0.2, "one_best_easy": 0.5}
"""D, the mean of the best arm less that of the others."""

PerArm = Float[Tensor, "B k"]
"""A number for each arm."""

_SHARED_AXES = {
    "changes": shifts.CHANGES,
    "gap": Axis(
        "factor on every arm's distance from 1/2",
        (1.0, 0.8, 0.6, 0.4, 0.2),
        "all agents, by less than the gap itself",
    ),
    "reward_scale": shifts.reward_scale("exact agents at factors below 1/2"),
}
_INDEPENDENT_AXES = {
    "prior": Axis(
        "tilt b of the prior Beta(1, 1+b)",
        (0.0, 0.5, 1.0, 2.0, 4.0),
        "Bayesian agents, slightly, in early pulls",
    ),
    "reward_sign": shifts.REWARD_SIGN,
}
_GAUSSIAN_AXES = {
    "bernoulli": Axis(
        "share of tasks whose rewards are 0 or 1",
        (0.0, 0.25, 0.5, 0.75, 1.0),
        "little: like a standard deviation of 0.3 to 0.5",
    ),
    "offset": Axis(
        "added to every mean",
        (0.0, -0.5, -1.0, 0.5, 1.0),
        "agents that know the prior, but not UCB",
    ),
    "reward_noise": Axis(
        "reward standard deviation", (GAUSSIAN_SD, 0.0, 0.5, 1.0, 3.0), "over-confident posteriors"
    ),
}


class ArmPrior(NamedTuple):
    """The distribution of a split's arms, for exact references.

    A mean is ``1/2 + offset + gap * (m - 1/2)`` with ``m ~ Beta(1, 1 + tilt)``; a reward is ``scale`` times the arm's
    draw, and negated in a share ``flipped`` of the tasks. If arms depend on one another, only the first formula holds:
    m is as ``Bandit.arms`` defines it.
    """

    tilt: float
    gap: float
    scale: float
    flipped: float
    sd: float
    offset: float


@dataclass(frozen=True, kw_only=True)
class Bandit(TaskFamily):
    """k-armed bandits of n pulls."""

    k: int = 5
    """Number of arms."""
    n: int = 10
    """Pulls in a trial."""
    arms: Literal[
        "bernoulli",
        "gaussian",
        "dependent_uniform",
        "dependent_easy",
        "dependent_medium",
        "dependent_hard",
        "one_best_easy",
        "one_best_hard",
    ] = "bernoulli"
    """The distribution of the arms."""

    name: ClassVar[str] = "bandit"
    neutral: ClassVar[Mapping[str, Any]] = {"bernoulli": False}
    always: ClassVar[tuple[str, ...]] = ("k", "n")

    def __post_init__(self) -> None:
        if not (2 <= self.k <= MOST_ARMS and 1 <= self.n <= MOST_PULLS):
            raise UserError(
                f"A bandit needs k from 2 to {MOST_ARMS:,} arms and n from 1 to {MOST_PULLS:,} pulls, found "
                f"k={self.k:,}, n={self.n:,}."
            )
        if self.dependent and self.k != 2:
            raise UserError(
                f"Dependent arms come in pairs (p and 1-p), found k={self.k}. Write bandit:k=2,arms={self.arms}."
            )
        super().__post_init__()

    @property
    def dependent(self) -> bool:
        """True if the second arm's mean is one minus the first's."""
        return self.arms.startswith("dependent")

    @property
    def one_best(self) -> bool:
        """True if one arm has a higher mean than the others, which share theirs."""
        return self.arms in _DISTANCE

    @property
    def independent(self) -> bool:
        """True if the arms' means are drawn independently of one another."""
        return not (self.dependent or self.one_best)

    @cached_property
    def axes(self) -> Mapping[str, Axis]:
        axes = _SHARED_AXES | {"horizon": shifts.horizon(self.n, "pulls")}
        if self.independent:
            axes |= _INDEPENDENT_AXES
        if self.arms == "gaussian":
            axes |= _GAUSSIAN_AXES
        return dict(sorted(axes.items()))

    def describe(self) -> Description:
        pays = "a number" if self.arms == "gaussian" else "0 or 1"
        return Description(
            setting=f"There are {self.k} arms. Each pull of an arm pays {pays}. Some arms pay more than others.",
            action="arm",
            step="pull",
            pays=pays,
        )

    def prior(self, split: str) -> ArmPrior:
        """The distribution of the arms of ``split``, the prior of its Bayes-optimal agent."""
        s = self.split(split)
        return ArmPrior(
            tilt=self.value(s, "prior", 0.0),
            gap=self.value(s, "gap", 1.0),
            scale=self.value(s, "reward_scale", 1.0),
            flipped=self.value(s, "reward_sign", 0.0),
            sd=self._sd(s),
            offset=self.value(s, "offset", 0.0),
        )

    def _sd(self, split: Split) -> float:
        """Standard deviation of rewards about their means, over all tasks; 0/1 rewards have a variance of 1/6."""
        if self.arms != "gaussian":
            return 0.0
        share = self.value(split, "bernoulli", 0.0)
        noise = self.value(split, "reward_noise", GAUSSIAN_SD)
        return math.sqrt((1 - share) * noise**2 + share / 6)

    def _support(self, split: Split) -> int | None:
        if self.one_best:
            return self.k
        return 2 if self.arms in _TWO_POINT else None

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        prior = self.prior(split.name)
        means = self._means(prior, index, noise.at("mean"))
        if prior.gap != 1:
            means = 0.5 + prior.gap * (means - 0.5)
        if prior.offset:
            means = means + prior.offset
        params = {"means": means} | shifts.factor(self, split, noise)
        if self.arms == "gaussian":
            sd = self.value(split, "reward_noise", GAUSSIAN_SD)
            params["sd"] = torch.full_like(means[:, 0], sd)
        if share := self.value(split, "bernoulli", 0.0):
            params["bernoulli"] = noise.at("bernoulli").uniform() < share
        return params

    def _means(self, prior: ArmPrior, index: Int[Tensor, " B"], noise: Rows) -> PerArm:
        if self.one_best:
            best = one_hot(index % self.k, self.k).to(torch.float32)
            return 0.5 + _DISTANCE[self.arms] * (best - 0.5)
        if not self.dependent:
            u = noise.uniform(self.k)
            # the inverse CDF of Beta(1, 1+b); b = 0 is exactly the uniform
            return u if prior.tilt == 0 else 1 - torch.exp(torch.log(1 - u) / (1 + prior.tilt))
        if self.arms in _TWO_POINT:
            high = _TWO_POINT[self.arms]
            p = torch.where(index % 2 == 0, high, 1 - high)
        else:
            p = noise.uniform()
        return torch.stack([p, 1 - p], -1)

    @property
    def observation(self) -> Discrete:
        return Discrete(1)

    @property
    def action(self) -> Discrete:
        return Discrete(self.k)

    def trial(self, split: str) -> Trial:
        return Trial(int(self.value(self.split(split), "horizon", float(self.n))), 1)

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Tensor, Tensor]:
        nothing = device_zeros(tasks)
        return nothing, nothing

    def step(self, tasks: Tasks, state: Tensor, action: Int[Tensor, " B"], noise: Rows) -> Outcome:
        params, draw = tasks.params, noise.at("reward")
        mean = row_entries(params["means"], action)
        if "sd" in params:
            reward = mean + params["sd"] * draw.normal()
            if "bernoulli" in params:
                won = (draw.uniform() < mean).to(reward.dtype)
                reward = torch.where(params["bernoulli"], won, reward)
        else:
            reward = (draw.uniform() < mean).to(torch.float32)
        over = torch.ones_like(action, dtype=torch.bool)
        return Outcome(state, state, shifts.paid(reward, params), over)

    @staticmethod
    def mean_rewards(tasks: Tasks) -> PerArm:
        """The mean reward of each arm, with the scale and sign of its task."""
        return shifts.paid(tasks.params["means"], tasks.params)

    def optimal_return(self, tasks: Tasks, trial: Trial) -> Float[Tensor, " B"]:
        return self.mean_rewards(tasks).amax(-1)

    def expected_reward(self, tasks: Tasks, step: Step) -> Float[Tensor, " B"]:
        return row_entries(self.mean_rewards(tasks), step.action)

    def success(self, tasks: Tasks, step: Step) -> Bool[Tensor, " B"]:
        """True if the arm has the highest mean."""
        return self.expected_reward(tasks, step) == self.optimal_return(tasks, Trial(1, 1))
