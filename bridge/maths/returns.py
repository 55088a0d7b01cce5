"""Advantages over whole trials: the episode ends inside a trial are part of the task, not cuts.

Shape letters: T steps of a trial (K episodes of H steps, one after another), B trials.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def trial_advantages(
    reward: Float[Tensor, "T B"], value: Float[Tensor, "T B"], *, gamma: float, lam: float
) -> Float[Tensor, "T B"]:
    """Generalised advantages (Schulman et al. 2016, equation 16) with the trial as the unit.

    A_t = sum_l (gamma lam)^l (r_{t+l} + gamma V_{t+l+1} - V_{t+l}), where V is 0 after the trial's last step and is not
    cut at the ends of episodes: the return of a trial is the objective (Duan et al. 2016, section 2.2).

    Args:
        reward: what each step paid.
        value: the critic's estimate before each step.
        gamma: discount a step, in [0, 1].
        lam: 0 is one-step temporal difference, 1 Monte Carlo.
    """
    after = torch.cat([value[1:], torch.zeros_like(value[:1])])
    delta = reward + gamma * after - value
    advantage = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = delta[t] + gamma * lam * running
        advantage[t] = running
    return advantage
