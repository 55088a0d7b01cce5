"""Planners for tabular MDPs with the task distribution as prior: the oracle, certainty equivalence, PSRL and OPSRL.

Each counts transitions, makes a plan at every ``begin`` for the trial's horizon, and follows it. The corresponding
published baselines are in Duan et al. 2016, Table 2 (10 episodes, 1,000 trials: greedy 134.8, epsilon-greedy 132.8,
PSRL 138.1, OPSRL 144.1).

Deviations from those baselines (read in the authors' code and in TabulaRL, the library that it builds on):

1. Mean rewards have their true prior mean, 1. There it is 0, so that untried actions look poor; draws from the true
   posterior explore more, which does not pay within 10 episodes. With ``prior_mean=0`` our returns are those published:
   PSRL 138.1, and OPSRL with 20 samples 143.5 (20,000 trials, standard error 0.2).
2. ``greedy`` and ``epsilon_greedy`` plan in the posterior mean under that prior, so that untried actions look average.
   There the prior has mean 0 and weight 1e-4: the empirical MDP.
3. The transition of an episode's last step is counted; there it is not.
4. Parameters are fixed in advance; those of the published rows were chosen on the reported tasks.

Frozen scoring (``explore=False``) plays the plan of ``begin``, so that PSRL still follows its draw.

Shape letters: B trials, H steps, S states, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from bridge.config import Count, Share, check_fields
from bridge.errors import ContractError
from bridge.maths.blocks import in_blocks
from bridge.maths.planning import Values, value_iteration
from bridge.protocol import Clues, Decision, Step, Trial
from bridge.references.base import (
    Informed,
    Reference,
    argmax_random_ties,
    epsilon_greedy,
    filled,
    reference_card,
)
from bridge.references.mdp.belief import Counts, count, no_counts, posterior_draw, posterior_mean
from bridge.rng import Rows
from bridge.tasks.base import row_entries
from bridge.tasks.tabular_mdp import PRIOR_MEAN, TabularMdp


class Plan(NamedTuple):
    """The action values to follow, and the time within the episode in steps. The horizon is a shape."""

    q: Values
    t: Int[Tensor, " B"]

    @classmethod
    def of(cls, q: Values) -> Plan:
        """The plan of these values, before the first step."""
        return cls(q, torch.zeros(len(q), dtype=torch.int64, device=q.device))

    def decide(self, obs: Int[Tensor, " B"], rng: Rows) -> Decision:
        """The best action for each row's time and state."""
        return Decision(argmax_random_ties(row_entries(self.q, self.t, obs), rng))

    def later(self, step: Step) -> Plan:
        """The plan after one step of live rows."""
        return Plan(self.q, self.t + step.acted)


class Memory(NamedTuple):
    """The statistics of a trial, and the plan of this episode."""

    counts: Counts
    plan: Plan


@dataclass
class Planner(Reference):
    """The base of agents that plan once an episode from their counts."""

    family: TabularMdp
    split: str = "id"
    """The split, which is ignored."""

    def __post_init__(self) -> None:
        check_fields(self, self.card.method)

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """No counts, and a plan of zeros."""
        states, actions = self.family.observation.n, self.family.action.n
        q = filled(rng, 0.0, trial.horizon, states, actions)
        return Memory(no_counts(rng, states, actions), Plan.of(q))

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """Plan this episode."""
        horizon = memory.plan.q.shape[1]
        q = in_blocks(lambda counts, rows: self.plan(counts, rows, horizon), memory.counts, rng)
        return Memory(memory.counts, Plan.of(q))

    def plan(self, counts: Counts, rng: Rows, horizon: int) -> Values:
        """The action values to follow for one episode."""
        raise NotImplementedError

    def act(self, memory: Memory, obs: Int[Tensor, " B"], rng: Rows, *, explore: bool) -> Decision:
        return memory.plan.decide(obs, rng)

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """Count the step, in place."""
        return Memory(count(memory.counts, step), memory.plan.later(step))


@dataclass(kw_only=True)
class BayesianPlanner(Planner):
    """A planner with a prior on mean rewards."""

    prior_mean: float = PRIOR_MEAN
    """Prior mean of the mean reward of a state and action."""


@dataclass(kw_only=True)
class MdpGreedy(BayesianPlanner):
    """Certainty equivalence: the optimal policy of the posterior-mean MDP."""

    card = reference_card("greedy", "heuristic")

    def plan(self, counts: Counts, rng: Rows, horizon: int) -> Values:
        return value_iteration(*posterior_mean(counts, self.prior_mean), horizon)


@dataclass(kw_only=True)
class MdpEpsilonGreedy(MdpGreedy):
    """Greedy, but a uniformly drawn action with probability ``epsilon`` while exploring."""

    epsilon: Share = 0.1
    """Probability of a uniformly drawn action: the smallest and best of the published grid 0.1, 0.2, ..., 1."""
    card = reference_card("epsilon_greedy", "heuristic")

    def act(self, memory: Memory, obs: Int[Tensor, " B"], rng: Rows, *, explore: bool) -> Decision:
        greedy, actions = memory.plan.decide(obs, rng), self.family.action.n
        if not explore:
            return greedy
        return epsilon_greedy(greedy, self.epsilon, rng.at("wander"), rng.at("action"), actions)


@dataclass(kw_only=True)
class Opsrl(BayesianPlanner):
    """Optimistic PSRL: each action has its value in the best of several posterior draws.

    The maximum is over whole MDPs, after planning, separately for each time, state and action, as in TabulaRL. (In
    BOSS, Asmuth et al. 2009, and in Agrawal & Jia 2017 it is within each backup.)
    """

    samples: Count = 5
    """Posterior draws an episode."""
    card = reference_card("opsrl", "heuristic")

    def plan(self, counts: Counts, rng: Rows, horizon: int) -> Values:
        draws = (
            posterior_draw(counts, rng.at("draw", i), self.prior_mean) for i in range(self.samples)
        )
        return reduce(torch.maximum, (value_iteration(*mdp, horizon) for mdp in draws))


@dataclass(kw_only=True)
class Psrl(Opsrl):
    """Posterior sampling (Strens 2000; Osband, Russo & Van Roy 2013): the optimal policy of one posterior draw."""

    samples: int = field(default=1, init=False)
    card = reference_card("psrl", "heuristic")


class MdpOracle(Informed):
    """The oracle on tabular MDPs: exact value iteration. Its memory is the plan."""

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Plan:
        """Plan once, in the true MDP."""
        if clues.task is None:
            raise ContractError(
                "The oracle found no task among its clues. Start it with Clues(task=tasks)."
            )
        transition, reward = clues.task.params["transition"], self.family.mean_reward(clues.task)
        return Plan.of(
            in_blocks(lambda *mdp: value_iteration(*mdp, trial.horizon), transition, reward)
        )

    def begin(self, memory: Plan, rng: Rows, *, episode: int) -> Plan:
        """The same plan, from its first step."""
        return Plan.of(memory.q)

    def act(self, memory: Plan, obs: Int[Tensor, " B"], rng: Rows, *, explore: bool) -> Decision:
        return memory.decide(obs, rng)

    def observe(self, memory: Plan, step: Step, carry: Any = None) -> Plan:
        return memory.later(step)
