"""Bayes-optimal play on Bernoulli bandits whose task is one of M known ones, such as the training tasks of ``tasks=N``.

A learner that met M tasks alone may have learned these instead of their distribution. Play that is optimal for these
shows it: on new tasks it is worse than play for the distribution, and the more so the smaller M is (Raventós et al.
2023, arXiv 2306.15063, who compare in-context regression with the posterior mean over training tasks).

The posterior over tasks is exact, from counts of wins and losses. Arms differ, so states are counts in order: there are
184,756 of them at k=5, n=10.

Shape letters: B trials, k arms, M tasks, S states.
"""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.errors import UserError
from bridge.protocol import Decision
from bridge.references.bandit.arm_beliefs import CountingReference, Counts
from bridge.references.base import argmax_random_ties, reference_card
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit, PerArm

MOST_STATES = 400_000
"""More states take minutes."""
_AT_ONCE = 1 << 23
"""States times tasks whose posterior is held at a time."""
_LEAST = 1e-12
"""Means are kept this far from 0 and 1, so that every history has a probability."""

States = Int[np.ndarray, "S cells"]
"""Wins, then losses, of each arm."""


class Solution(NamedTuple):
    """The optimal arms of every state with pulls to go, and the value of a whole trial."""

    key: Int[Tensor, " S"]
    """Sorted keys of the states."""
    best: Bool[Tensor, "S k"]
    value: float


def count_states(k: int, n: int) -> int:
    """The number of counts of at most n outcomes in 2 k cells."""
    return comb(n + 2 * k, n)


def _words(k: int) -> Int[np.ndarray, " cells"]:
    """A fixed random 64-bit word for each cell; a state's key is the sum of its counts' words."""
    return Rows.of("bayes_tasks/states", torch.arange(2 * k)).bits().numpy()


def _key(states: States) -> Int[np.ndarray, " S"]:
    return states @ _words(states.shape[1] // 2)  # an overflow wraps around, as a hash may


def _layers(k: int, n: int) -> list[States]:
    """The states after 0..n pulls, in the order of their keys."""
    found = [np.zeros((1, 2 * k), dtype=np.int64)]
    for _ in range(n):
        grown = (found[-1][:, None] + np.eye(2 * k, dtype=np.int64)).reshape(-1, 2 * k)
        layer = np.unique(grown, axis=0)
        found.append(layer[np.argsort(_key(layer))])
    return found


def chances(states: States, means: Float[np.ndarray, "M k"]) -> Float[np.ndarray, "S k"]:
    """P(the next pull of each arm wins | counts), if the M tasks were equally likely at first."""
    means = means.clip(_LEAST, 1 - _LEAST)
    log_chance = np.concatenate([np.log(means), np.log1p(-means)], 1)
    found = np.empty((len(states), means.shape[1]))
    some = max(1, _AT_ONCE // len(means))
    for first in range(0, len(states), some):
        log_like = states[first : first + some] @ log_chance.T
        weight = np.exp(log_like - log_like.max(1, keepdims=True))
        found[first : first + some] = weight @ means / weight.sum(1, keepdims=True)
    return found


def solve(means: Float[np.ndarray, "M k"], n: int) -> Solution:
    """Backward induction over all states."""
    k = means.shape[1]
    layers = _layers(k, n)
    after = np.zeros(len(layers[n]))
    keys, best = [], []
    for t in reversed(range(n)):
        later, words = _key(layers[t + 1]), _words(k)
        chance, key = chances(layers[t], means), _key(layers[t])
        win, lose = (
            after[np.searchsorted(later, key[:, None] + cell)] for cell in (words[:k], words[k:])
        )
        values = chance * (1 + win) + (1 - chance) * lose
        after = values.max(1)
        best.append(values >= after[:, None] - 1e-10)
        keys.append(key)
    key = np.concatenate(keys)
    order = np.argsort(key)
    if len(np.unique(key)) != len(key):
        raise AssertionError("two states share a key; change the stream of _words()")
    return Solution(
        torch.from_numpy(key[order]), torch.from_numpy(np.concatenate(best)[order]), float(after[0])
    )


@lru_cache(maxsize=8)
def _solved(family: Bandit) -> tuple[Float[np.ndarray, "M k"], Solution]:
    """The means of the training tasks of a family, and its solution."""
    means = family.mean_rewards(family.sample("train", torch.arange(family.tasks)))
    means = means.double().numpy()
    return means, solve(means, family.n)


class KnownTasks(CountingReference):
    """The solved policy for the trained number of pulls, then the highest posterior mean, on every split.

    Args:
        family: bandits with ``tasks=N`` training tasks.
        split: the split, which does not matter.

    Raises:
        UserError: the arms are not independent Bernoulli arms, or there are too many states.
    """

    def __init__(self, family: Bandit, split: str) -> None:
        if not family.independent or family.arms == "gaussian":
            raise UserError(
                f"bayes_tasks is made for independent Bernoulli arms; found {family.id}. Leave arms out."
            )
        if count_states(family.k, family.n) > MOST_STATES:
            raise UserError(
                f"bayes_tasks solves at most {MOST_STATES:,} states, and {family.id} has "
                f"{count_states(family.k, family.n):,}. Take fewer arms or pulls."
            )
        super().__init__(family.k, family.prior("train"), reference_card("bayes_tasks", "exact"))
        self.n = family.n
        self.means, self.solution = _solved(family)
        self.words = torch.from_numpy(_words(family.k))

    def act(self, memory: Counts, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        planned = memory.pulls.sum(-1) < self.n
        if explore and bool(planned.all()):
            return Decision(argmax_random_ties(self._planned(memory), rng))
        values = self._mean(memory)
        if explore and bool(planned.any()):
            values = torch.where(planned[:, None], self._planned(memory), values)
        return Decision(argmax_random_ties(values, rng))

    def _planned(self, memory: Counts) -> PerArm:
        """1 for optimal arms, 0 for others."""
        counts = torch.cat([memory.wins, memory.losses], -1).long()
        key = (counts * self.words.to(counts.device)).sum(-1)
        keys = self.solution.key.to(counts.device)
        place = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
        return self.solution.best.to(counts.device)[place].float()

    def _mean(self, memory: Counts) -> PerArm:
        """Posterior mean reward of each arm."""
        counts = torch.cat([memory.wins, memory.losses], -1).long()
        found = chances(counts.cpu().numpy(), self.means)
        return torch.from_numpy(found).to(memory.wins)
