"""Random tabular MDPs: 10 states, 5 actions, n episodes of 10 steps from state 0.

The family of Duan et al. 2016, "RL^2: Fast Reinforcement Learning via Slow Reinforcement Learning", section 3.2: mean
rewards R(s, a) ~ N(1, 1), rewards N(R(s, a), 1), transitions P(.|s, a) ~ Dirichlet(1, ..., 1). An episode ends by time
alone.

Deviations from the paper: none in the tasks. The observation is the state alone; the last action, the last reward and
the end of an episode, which the paper puts into the observation, come to an agent through ``observe``.

Shape letters: B trials, S = 10 states, A = 5 actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge.errors import UserError
from bridge.maths.blocks import row_blocks
from bridge.maths.planning import value_iteration
from bridge.protocol import Step, Trial
from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.base import Axis, Discrete, Outcome, Split, TaskFamily, Tasks, device_zeros

STATES, ACTIONS, HORIZON = 10, 5, 10
PRIOR_MEAN = 1.0
"""Mean of the mean rewards; their standard deviation and that of the trained reward noise are 1."""

_SHARED_AXES = {
    "concentration": Axis(
        "Dirichlet concentration of transitions", (1.0, 0.1, 0.3, 3.0, 10.0), "posteriors, little"
    ),
    "horizon": shifts.horizon(HORIZON),
    "reward_noise": Axis(
        "reward standard deviation", (1.0, 2.0, 3.0, 5.0, 10.0), "over-confident posteriors"
    ),
    "reward_scale": shifts.reward_scale("exact agents below 1"),
    "reward_sign": shifts.REWARD_SIGN,
}


@dataclass(frozen=True, kw_only=True)
class TabularMdp(TaskFamily):
    """Random MDPs of 10 states and 5 actions."""

    n: int = 10
    """Episodes in a trial."""

    name: ClassVar[str] = "tabular_mdp"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UserError(f"A trial of {self.name} needs n >= 1 episodes, found n={self.n}.")
        super().__post_init__()

    @property
    def axes(self) -> Mapping[str, Axis]:
        return dict(
            sorted({**_SHARED_AXES, "context_length": shifts.context_length(self.n)}.items())
        )

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        reward_mean = PRIOR_MEAN + noise.at("reward_mean").normal(STATES, ACTIONS)
        concentration = self.value(split, "concentration", 1.0)
        params = {
            "transition": _transition(noise.at("transition"), concentration),
            "reward_mean": reward_mean,
        }
        if (sd := self.value(split, "reward_noise", 1.0)) != 1:
            params["sd"] = torch.full_like(reward_mean[:, 0, 0], sd)
        return params | shifts.factor(self, split, noise)

    @property
    def observation(self) -> Discrete:
        return Discrete(STATES)

    @property
    def action(self) -> Discrete:
        return Discrete(ACTIONS)

    def trial(self, split: str) -> Trial:
        return shifts.trial(self, split, self.n, HORIZON)

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Tensor, Tensor]:
        start = device_zeros(tasks)
        return start, start

    def step(
        self, tasks: Tasks, state: Int[Tensor, " B"], action: Int[Tensor, " B"], noise: Rows
    ) -> Outcome:
        draw = noise.at("reward").normal()
        if "sd" in tasks.params:
            draw = tasks.params["sd"] * draw
        reward = shifts.paid(_at(tasks.params["reward_mean"], state, action) + draw, tasks.params)
        state = noise.at("next").categorical(_at(tasks.params["transition"], state, action))
        return Outcome(state, state, reward)

    def mean_reward(self, tasks: Tasks) -> Float[Tensor, "B S A"]:
        """The mean reward of each state and action as these tasks pay it."""
        return shifts.paid(tasks.params["reward_mean"], tasks.params)

    def optimal_return(self, tasks: Tasks, trial: Trial) -> Float[Tensor, " B"]:
        """The value of state 0 under exact finite-horizon value iteration."""
        transition, reward = tasks.params["transition"], self.mean_reward(tasks)
        best = torch.empty_like(reward[:, 0, 0])
        for rows in row_blocks(len(best)):
            best[rows] = value_iteration(transition[rows], reward[rows], trial.horizon)[
                :, 0, 0
            ].amax(-1)
        return best

    def expected_reward(self, tasks: Tasks, step: Step) -> Float[Tensor, " B"]:
        return shifts.paid(_at(tasks.params["reward_mean"], step.obs, step.action), tasks.params)


def _transition(noise: Rows, concentration: float) -> Float[Tensor, "B S A S"]:
    """Symmetric Dirichlet draws, a block of tasks at a time."""
    draw = torch.empty(len(noise), STATES, ACTIONS, STATES, device=noise.device)
    for rows in row_blocks(len(noise)):
        draw[rows] = noise[rows].dirichlet(torch.full_like(draw[rows], concentration))
    return draw


def _at(
    table: Float[Tensor, "B S A *more"], state: Int[Tensor, " B"], action: Int[Tensor, " B"]
) -> Tensor:
    """Each row's entry for its state and action."""
    return table[torch.arange(len(table), device=table.device), state, action]
