"""Statistics of a tabular MDP: counts of transitions, sums of rewards, and the posterior over MDPs.

The model is the *training* distribution, on every split: transitions Dirichlet(1, ..., 1), mean rewards N(1, 1), reward
noise of standard deviation 1. Both priors are conjugate, and with unit variances a precision is a number of visits: the
posterior is Dirichlet(1 + counts) and N((1 + sum of rewards) / (1 + visits), 1 / (1 + visits)).

Shape letters: B trials, S states, A actions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from bridge.maths.planning import Rewards, Transitions
from bridge.protocol import Step
from bridge.references.base import filled
from bridge.rng import Rows
from bridge.tasks.tabular_mdp import PRIOR_MEAN


class Counts(NamedTuple):
    """The count of each transition, and the sum of the rewards of each state and action."""

    next_states: Transitions
    reward_sum: Rewards

    @property
    def visits(self) -> Rewards:
        """The count of each state and action."""
        return self.next_states.sum(-1)


class Mdp(NamedTuple):
    """Transition probabilities and mean rewards."""

    transition: Transitions
    reward: Rewards


def no_counts(rng: Rows, states: int, actions: int) -> Counts:
    """Counts of 0."""
    return Counts(filled(rng, 0.0, states, actions, states), filled(rng, 0.0, states, actions))


def count(counts: Counts, step: Step) -> Counts:
    """Count one transition of each live row, in place."""
    row = torch.arange(len(step.reward), device=step.reward.device)
    counts.next_states[row, step.obs, step.action, step.next_obs] += step.acted
    counts.reward_sum[row, step.obs, step.action] += torch.where(step.acted, step.reward, 0.0)
    return counts


def posterior_mean(counts: Counts, prior_mean: float = PRIOR_MEAN) -> Mdp:
    """The mean of the posterior over MDPs."""
    weight = 1 + counts.next_states
    reward = (prior_mean + counts.reward_sum) / (1 + counts.visits)
    return Mdp(weight / weight.sum(-1, keepdim=True), reward)


def posterior_draw(counts: Counts, rng: Rows, prior_mean: float = PRIOR_MEAN) -> Mdp:
    """An MDP drawn from the posterior."""
    visits = counts.visits
    noise = rng.at("reward").normal(*visits.shape[1:]) / (1 + visits).sqrt()
    reward = (prior_mean + counts.reward_sum) / (1 + visits) + noise
    return Mdp(_draw_transition(counts.next_states, rng.at("transition")), reward)


def _draw_transition(seen: Transitions, rng: Rows) -> Transitions:
    """Dirichlet(1 + seen) as normalised gammas, by Gamma(1 + n) = Gamma(1) + Gamma(n).

    Gamma(1) is one uniform through the inverse CDF. The expensive Gamma(n) is drawn for transitions that were seen,
    some dozens of 500. Both have noise named by row and cell, so that the other counts do not change them.
    """
    seen_flat = seen.flatten(1)
    mass = rng.at("unseen").exponential(seen_flat.shape[1])
    row, cell = seen_flat.nonzero(as_tuple=True)
    mass[row, cell] += rng.at("seen")[row].at(cell).gamma(seen_flat[row, cell])
    mass = mass.view_as(seen)
    return mass / mass.sum(-1, keepdim=True)
