"""Planners for tabular MDPs that know the task distribution: the oracle, certainty equivalence, PSRL and OPSRL.

Each counts what it sees, makes one plan at every ``begin`` for the horizon that the trial has, and follows it. The
baselines of Duan et al. 2016, Table 2, are their published kin (10 episodes, 1,000 trials: greedy 134.8, epsilon-greedy
132.8, PSRL 138.1, OPSRL 144.1).

Deviations from those baselines (read in the authors' code and in TabulaRL, the library that it builds on):

1. Mean rewards have their true prior mean, 1. There it is 0, so that whatever is untried looks poor; draws from the
   true posterior explore more, which does not pay within 10 episodes. With ``prior_mean=0`` we earn what was published:
   PSRL 138.1, and OPSRL with 20 samples 143.5 (20,000 trials, standard error 0.2).
2. ``greedy`` and ``epsilon_greedy`` plan in the posterior mean under that prior, where the untried looks fair. There
   the prior has mean 0 and weight 1e-4: the empirical MDP.
3. The transition of an episode's last step is counted; there it is not.
4. Parameters are fixed in advance; the published rows chose theirs on the tasks that they report.

Frozen scoring (``explore=False``) plays the plan that ``begin`` made, so PSRL still follows its draw.

Shape letters: B trials, H steps, S states, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge import memory as tree
from bridge.errors import ContractError, UserError
from bridge.maths.blocks import row_blocks
from bridge.maths.planning import value_iteration
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.base import ORACLE, Reference, argmax_random_ties
from bridge.references.mdp.belief import Counts, count, no_counts, posterior_draw, posterior_mean
from bridge.rng import Rows
from bridge.tasks.tabular_mdp import PRIOR_MEAN, TabularMdp


class Plan(NamedTuple):
    """The action values in force, and the time within the episode in steps. The horizon is a shape."""

    q: Float[Tensor, "B H S A"]
    t: Int[Tensor, " B"]


class Memory(NamedTuple):
    """What a planner knows and what it is about."""

    counts: Counts
    plan: Plan


def follow(plan: Plan, obs: Int[Tensor, " B"], rng: Rows) -> Int[Tensor, " B"]:
    """The plan's best action for each row's time and state."""
    return argmax_random_ties(plan.q[torch.arange(len(obs), device=obs.device), plan.t, obs], rng)


def tick(plan: Plan, live: Bool[Tensor, " B"] | None) -> Plan:
    """One step later."""
    return Plan(plan.q, tree.where(live, plan.t + 1, plan.t))


@dataclass
class Planner(Reference):
    """Plans once an episode from what it has counted; the rules below say how."""

    family: TabularMdp
    split: str = "id"
    """Where it plays; no rule here depends on it."""
    card: Card = field(init=False)
    name: ClassVar[str]
    supervision: ClassVar[str] = "prior"
    tried: ClassVar[int] = 1
    """How many values of its parameter were compared on ``id_val`` at n = 10."""

    def __post_init__(self) -> None:
        self.card = Card(
            method=self.name,
            reference=True,
            supervision=self.supervision,
            decode_rule="rule",
            exact_reference="heuristic",
            selection_rule="id_val" if self.tried > 1 else "none",
            tuning_configs=self.tried,
        )

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Memory:
        """Nothing counted, nothing planned."""
        states, actions = self.family.observation.n, self.family.action.n
        q = torch.zeros(len(rng), trial.horizon, states, actions, device=rng.device)
        t = torch.zeros(len(rng), dtype=torch.int64, device=rng.device)
        return Memory(no_counts(len(rng), states, actions, rng.device), Plan(q, t))

    def begin(self, memory: Memory, rng: Rows, *, episode: int) -> Memory:
        """Plan, a block of rows at a time."""
        q, t = memory.plan
        for rows in row_blocks(len(rng)):
            q[rows] = self.plan(tree.select(memory.counts, rows), rng[rows], q.shape[1])
        return Memory(memory.counts, Plan(q, torch.zeros_like(t)))

    def plan(self, counts: Counts, rng: Rows, horizon: int) -> Float[Tensor, "B H S A"]:
        """Action values to follow for one episode."""
        raise NotImplementedError

    def act(self, memory: Memory, obs: Int[Tensor, " B"], rng: Rows, *, explore: bool) -> Decision:
        """Follow the plan."""
        return Decision(follow(memory.plan, obs, rng))

    def observe(self, memory: Memory, step: Step, carry: Any = None) -> Memory:
        """Count."""
        return Memory(count(memory.counts, step), tick(memory.plan, step.live))


@dataclass(kw_only=True)
class MdpGreedy(Planner):
    """Certainty equivalence: the optimal policy of the posterior-mean MDP."""

    prior_mean: float = PRIOR_MEAN
    """What the mean reward of a state and action is before it is tried."""
    name = "greedy"

    def plan(self, counts: Counts, rng: Rows, horizon: int) -> Float[Tensor, "B H S A"]:
        return value_iteration(*posterior_mean(counts, self.prior_mean), horizon)


@dataclass(kw_only=True)
class MdpEpsilonGreedy(MdpGreedy):
    """Greedy, but a uniformly drawn action with probability ``epsilon`` while exploring."""

    epsilon: float = 0.1
    """The smallest of the published grid 0.1, 0.2, ..., 1 and the best of it."""
    name = "epsilon_greedy"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.epsilon <= 1:
            raise UserError(f"epsilon is a probability between 0 and 1, found {self.epsilon}.")

    def act(self, memory: Memory, obs: Int[Tensor, " B"], rng: Rows, *, explore: bool) -> Decision:
        greedy = super().act(memory, obs, rng, explore=explore)
        if not explore:
            return greedy
        wander = rng.at("wander").uniform() < self.epsilon
        return Decision(
            torch.where(wander, rng.at("action").integers(self.family.action.n), greedy.action)
        )


@dataclass(kw_only=True)
class Opsrl(Planner):
    """Optimistic PSRL: each action is worth what it is worth in the best of several posterior draws.

    The maximum is over whole MDPs, after planning, separately for each time, state and action, as in TabulaRL. (It
    stands within each backup in BOSS, Asmuth et al. 2009, and in Agrawal & Jia 2017.)
    """

    samples: int = 5
    """Posterior draws an episode."""
    prior_mean: float = PRIOR_MEAN
    """What the mean reward of a state and action is before it is tried."""
    name = "opsrl"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1:
            raise UserError(
                f"{self.name} needs samples >= 1 posterior draws, found {self.samples}."
            )

    def plan(self, counts: Counts, rng: Rows, horizon: int) -> Float[Tensor, "B H S A"]:
        draws = (
            posterior_draw(counts, rng.at("draw", i), self.prior_mean) for i in range(self.samples)
        )
        return reduce(torch.maximum, (value_iteration(*mdp, horizon) for mdp in draws))


@dataclass(kw_only=True)
class Psrl(Opsrl):
    """Posterior sampling (Strens 2000; Osband, Russo & Van Roy 2013): the optimal policy of one posterior draw."""

    samples: int = field(default=1, init=False)
    name = "psrl"


class MdpOracle(Reference):
    """Told the task, it follows the plan of exact value iteration. Its memory is the plan."""

    def __init__(self, family: TabularMdp, split: str = "id") -> None:
        self.family = family
        self.card = ORACLE

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Plan:
        """Plan once, in the true MDP."""
        if clues.task is None:
            raise ContractError(
                "The oracle found no task among its clues. Start it with Clues(task=tasks)."
            )
        transition, reward = clues.task.params["transition"], self.family.mean_reward(clues.task)
        q = reward.new_empty(len(rng), trial.horizon, *reward.shape[1:])
        for rows in row_blocks(len(rng)):
            q[rows] = value_iteration(transition[rows], reward[rows], trial.horizon)
        return Plan(q, torch.zeros(len(rng), dtype=torch.int64, device=rng.device))

    def begin(self, memory: Plan, rng: Rows, *, episode: int) -> Plan:
        """The same plan, from its first step."""
        return Plan(memory.q, torch.zeros_like(memory.t))

    def act(self, memory: Plan, obs: Int[Tensor, " B"], rng: Rows, *, explore: bool) -> Decision:
        """Follow the plan."""
        return Decision(follow(memory, obs, rng))

    def observe(self, memory: Plan, step: Step, carry: Any = None) -> Plan:
        """Only time passes."""
        return tick(memory, step.live)
