"""Planners for tabular MDPs that are optimistic about rarely tried actions: BEB and UCRL2.

The published rows of Duan et al. 2016, Table 2, with 10 episodes are BEB 150.2 and UCRL2 146.6.

Deviations from the papers and from the baselines behind those rows (see ``posterior.py``):

1. BEB's posterior mean has the true prior; the bonus is added once a step, as in its paper, while the baseline
   multiplies it by the number of steps left.
2. UCRL2 replans at each episode for the episode's horizon, while the paper waits until some count has doubled and plans
   for the average reward. Its optimistic MDP is exact; in the baseline optimism accumulates over backups.
3. The optimism of both theories is scaled down by a factor chosen on ``id_val`` at n = 10. As published, they explore
   throughout the trial.

Shape letters: B trials, H steps, S states, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from bridge.config import Holds, NonNegative, Positive
from bridge.maths.planning import Values, extended_value_iteration, value_iteration
from bridge.references.base import reference_card
from bridge.references.mdp.belief import Counts, posterior_mean
from bridge.references.mdp.posterior import BayesianPlanner, Planner
from bridge.rng import Rows


@dataclass(kw_only=True)
class Beb(BayesianPlanner):
    """Bayesian exploration bonus (Kolter & Ng 2009): the posterior mean, and beta / (1 + S + visits) on each reward."""

    beta: NonNegative = 10.0
    """Size of the bonus, in rewards; theory asks for 2 H^2. Chosen from 1, 3, 5, 7, 10, 15, 20."""
    card = reference_card("beb", "heuristic", selection_rule="id_val", tuning_configs=7)

    def plan(self, counts: Counts, rng: Rows, horizon: int) -> Values:
        transition, reward = posterior_mean(counts, self.prior_mean)
        bonus = self.beta / (1 + self.family.observation.n + counts.visits)
        return value_iteration(transition, reward + bonus, horizon)


@dataclass(kw_only=True)
class Ucrl2(Planner):
    """UCRL2 (Jaksch, Ortner & Auer 2010): the best MDP in confidence balls around the empirical one; it has no prior.

    The radii are their equations 3 and 4 times ``scaling``. Before optimism, untried actions have reward 0 and uniform
    transitions.
    """

    scaling: NonNegative = 0.3
    """Factor on the radii; theory asks for 1. Chosen from 0.003, 0.01, 0.03, 0.1, 0.3, 1."""
    delta: Annotated[Positive, Holds("below 1")] = 0.05
    """Probability that some ball does not contain the truth."""
    card = reference_card("ucrl2", "heuristic", "none", selection_rule="id_val", tuning_configs=6)

    def plan(self, counts: Counts, rng: Rows, horizon: int) -> Values:
        _, states, actions = counts.reward_sum.shape
        visits = counts.visits
        n = visits.clamp(min=1)
        t = visits.sum((1, 2), keepdim=True) + 1
        transition = torch.where(
            visits[..., None] > 0, counts.next_states / n[..., None], 1 / states
        )
        reward_radius = torch.sqrt(7 * torch.log(2 * states * actions * t / self.delta) / (2 * n))
        radius = torch.sqrt(14 * states * torch.log(2 * actions * t / self.delta) / n)
        reward = counts.reward_sum / n + self.scaling * reward_radius
        return extended_value_iteration(transition, reward, self.scaling * radius, horizon)
