"""Random tabular MDPs: 10 states, 5 actions, n episodes of 10 steps from state 0.

The family of Duan et al. 2016, "RL^2: Fast Reinforcement Learning via Slow Reinforcement Learning", section 3.2: mean
rewards R(s, a) ~ N(1, 1), rewards N(R(s, a), 1), transitions P(.|s, a) ~ Dirichlet(1, ..., 1). An episode ends by time
alone.

Deviations from the paper: none in the tasks. The observation is the state alone; agents get the last action, the last
reward and the end of an episode, which the paper puts into the observation, through ``observe``.

Shape letters: B trials, S = 10 states, A = 5 actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge.config import Count
from bridge.maths.blocks import in_blocks
from bridge.maths.planning import value_iteration
from bridge.protocol import Step, Trial
from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.base import Axis, Discrete, Outcome, Split, Tasks, device_zeros, row_entries
from bridge.tasks.description import Description
from bridge.tasks.episodic import EpisodicFamily

STATES, ACTIONS, HORIZON = 10, 5, 10
PRIOR_MEAN = 1.0
"""Mean of the mean rewards; their standard deviation and that of the trained reward noise are 1."""

_SHARED_AXES = {
    "changes": shifts.CHANGES,
    "concentration": Axis(
        "Dirichlet concentration of transitions",
        (1.0, 0.1, 0.3, 3.0, 10.0),
        "posteriors, slightly",
    ),
    "reward_delay": shifts.reward_delay(HORIZON),
    "reward_noise": Axis(
        "reward standard deviation", (1.0, 2.0, 3.0, 5.0, 10.0), "over-confident posteriors"
    ),
    "reward_scale": shifts.reward_scale("exact agents at factors below 1"),
    "reward_sign": shifts.REWARD_SIGN,
}


@dataclass(frozen=True, kw_only=True)
class TabularMdp(EpisodicFamily):
    """Random MDPs of 10 states and 5 actions."""

    n: Count = 10
    """Episodes in a trial."""

    name: ClassVar[str] = "tabular_mdp"
    neutral: ClassVar[Mapping[str, Any]] = {"sd": 1.0}

    @property
    def trained_trial(self) -> Trial:
        return Trial(self.n, HORIZON)

    @property
    def own_axes(self) -> Mapping[str, Axis]:
        return _SHARED_AXES

    def describe(self) -> Description:
        return Description(
            setting=f"There are {STATES} states and {ACTIONS} actions. Each episode starts in state 0. An action pays "
            "a number and leads to another state, both by chance, and the chances depend on the state and the action.",
            action="action",
            step="step",
            pays="a number",
            place="state",
        )

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        concentration = torch.full(
            (STATES, ACTIONS, STATES),
            self.value(split, "concentration", 1.0),
            device=noise.device,
        )
        params = {
            "transition": in_blocks(
                lambda rows: rows.dirichlet(concentration.expand(len(rows), -1, -1, -1)),
                noise.at("transition"),
            ),
            "reward_mean": PRIOR_MEAN + noise.at("reward_mean").normal(STATES, ACTIONS),
        }
        if (sd := self.value(split, "reward_noise", 1.0)) != 1:
            params["sd"] = torch.full(index.shape, sd, device=noise.device)
        return params | shifts.factor(self, split, noise)

    @property
    def observation(self) -> Discrete:
        return Discrete(STATES)

    @property
    def action(self) -> Discrete:
        return Discrete(ACTIONS)

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Tensor, Tensor]:
        start = device_zeros(tasks)
        return start, start

    def step(
        self, tasks: Tasks, state: Int[Tensor, " B"], action: Int[Tensor, " B"], noise: Rows
    ) -> Outcome:
        draw = noise.at("reward").normal()
        if "sd" in tasks.params:
            draw = tasks.params["sd"] * draw
        mean = row_entries(tasks.params["reward_mean"], state, action)
        reward = shifts.paid(mean + draw, tasks.params)
        state = noise.at("next").categorical(row_entries(tasks.params["transition"], state, action))
        return Outcome(state, state, reward)

    def mean_reward(self, tasks: Tasks) -> Float[Tensor, "B S A"]:
        """The mean reward of each state and action, with the factor of its task."""
        return shifts.paid(tasks.params["reward_mean"], tasks.params)

    def optimal_return(self, tasks: Tasks, trial: Trial) -> Float[Tensor, " B"]:
        """The value of state 0 under exact finite-horizon value iteration."""
        return in_blocks(
            lambda *mdp: value_iteration(*mdp, trial.horizon)[:, 0, 0].amax(-1),
            tasks.params["transition"],
            self.mean_reward(tasks),
        )

    def expected_reward(self, tasks: Tasks, step: Step) -> Float[Tensor, " B"]:
        return shifts.paid(
            row_entries(tasks.params["reward_mean"], step.obs, step.action), tasks.params
        )
