"""Bayes-optimal play on bandits: exact by dynamic programming if there are few enough states, else the Gittins index.

A state is the multiset of (wins, losses) over arms. Arms are exchangeable under the prior, so their order does not
matter, and at most n of k arms can be pulled: at k=5, n=10 there are 1,951 states, and at k=50 as many as at k=10
(2,296). Each state's key is a sum of one random 64-bit word per arm, so that arms need no sorting during play.

If tasks may have negated rewards (axis ``reward_sign``), the sign is unknown until the first nonzero reward; three
tables (known +, unknown, known -) keep the solution exact.

For dependent arms (means p and 1-p) every pull is equally informative, so that planning one pull ahead is optimal: pull
the arm that the evidence favours (Wang et al. 2016, section 3.1.2). If one arm has mean 1/2 + D/2 and all others have
1/2 - D/2, "arm i is best" has a posterior in proportion to r^(wins_i - losses_i), r = (1 + D)/(1 - D). Pulling the
likeliest arm is again optimal, at every horizon and for every D > 0 (Rodman 1978, "On the many-armed bandit problem",
after Feldman 1962, "Contributions to the two-armed bandit problem", for k = 2; tested against a dynamic programme).

Shape letters: B trials, k arms, M states, m = min(k, n) arms that can be touched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from bridge.protocol import Card, Decision
from bridge.references.bandit.arm_beliefs import CountingReference, Counts, predictive
from bridge.references.bandit.gittins import gittins
from bridge.references.base import Reference, argmax_random_ties, reference_card
from bridge.rng import Rows
from bridge.tasks.bandit import ArmPrior, Bandit, PerArm
from bridge.tasks.base import row_entries

MOST_STATES = 400_000
"""Dynamic programming takes at most some seconds for this many states."""


class Solution(NamedTuple):
    """The optimal policy of every reachable state with pulls to go."""

    key: Int[Tensor, " M"]
    """Sorted keys of the states."""
    best: Bool[Tensor, "3 M m"]
    """True for the optimal slots (arms in descending order of their code); for signs +, unknown and -."""
    value: float
    """Expected total reward of a whole trial under the prior."""


def count_states(k: int, n: int) -> int:
    """The number of multisets of k (wins, losses) pairs with at most n - 1 pulls in total."""
    m = min(k, n)
    ways = np.zeros((m + 1, n), dtype=object)
    ways[0, 0] = 1
    for pulls in range(n):
        for _outcome in range(pulls + 1):  # several arms may have the same (wins, losses)
            for arms in range(1, m + 1):
                ways[arms, pulls:] += ways[arms - 1, : n - pulls]
    return int(ways[m].sum())


def words(n: int) -> np.ndarray:
    """One fixed random 64-bit word for each code ``wins * (n + 1) + losses``."""
    return Rows.of("bayes/states", torch.arange((n + 1) ** 2)).bits().numpy()


def _key(codes: np.ndarray, n: int) -> np.ndarray:
    return words(n)[codes].sum(-1)  # an overflow wraps around, as a hash may


def layers(k: int, n: int) -> list[np.ndarray]:
    """The states after 0..n pulls, each row the codes of m arms in descending order."""
    found = [np.zeros((1, min(k, n)), dtype=np.int32)]
    for _ in range(n):
        grown = np.concatenate([_after(found[-1], won, n) for won in (True, False)])
        found.append(np.unique(grown.reshape(-1, min(k, n)), axis=0))
    return found


def _after(states: np.ndarray, won: bool, n: int) -> np.ndarray:
    """The states after a pull of each slot, ``[states, m, m]``, arms back in descending order."""
    pull = (n + 1 if won else 1) * np.eye(states.shape[1], dtype=states.dtype)
    return -np.sort(-(states[:, None] + pull), axis=-1)


@lru_cache(maxsize=8)
def solve(prior: ArmPrior, k: int, n: int) -> Solution:
    """Backward induction over all states; it does not depend on ``prior.scale``."""
    chance, q = predictive(prior, n), prior.flipped
    states = [layer[np.argsort(_key(layer, n))] for layer in layers(k, n)]
    keys = [_key(layer, n) for layer in states]
    plus = unknown = minus = np.zeros(len(keys[n]))  # values by the sign of rewards
    best: list[np.ndarray] = []
    for t in reversed(range(n)):
        layer = states[t]
        win, lose = (
            np.searchsorted(keys[t + 1], _key(_after(layer, won, n), n)) for won in (True, False)
        )
        p = chance[layer // (n + 1), layer % (n + 1)]
        won_plus, won_minus = 1 + plus[win], -1 + minus[win]
        values = np.stack(
            [
                p * won_plus + (1 - p) * plus[lose],
                p * ((1 - q) * won_plus + q * won_minus) + (1 - p) * unknown[lose],
                p * won_minus + (1 - p) * minus[lose],
            ]
        )
        top = values.max(-1, keepdims=True)
        best.append(values >= top - 1e-10)
        plus, unknown, minus = top[..., 0]
    key = np.concatenate(keys[n - 1 :: -1])
    rank = np.argsort(key)
    if len(np.unique(key)) != len(key):
        raise AssertionError("two states share a key; change the stream of words()")
    table = np.concatenate(best, axis=1)[:, rank]
    value = {0.0: plus, 1.0: minus}.get(q, unknown)[0]
    return Solution(torch.from_numpy(key[rank]), torch.from_numpy(table), float(value))


class ExactBandit(CountingReference):
    """The solved policy for n pulls, then the highest posterior mean."""

    def __init__(self, family: Bandit, prior: ArmPrior, n: int, card: Card) -> None:
        super().__init__(family.k, prior, card)
        self.n, self.solution = n, solve(prior._replace(scale=1.0), family.k, n)
        self.words = torch.from_numpy(words(n))
        self.chance = torch.from_numpy(predictive(prior, 4 * family.n + 1)).float()

    def act(self, memory: Counts, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        planned = memory.pulls.sum(-1) < self.n
        greedy = argmax_random_ties(self._mean(memory), rng)
        if not explore or not bool(planned.any()):
            return Decision(greedy)
        return Decision(torch.where(planned, self._plan(memory, rng), greedy))

    def represent(self, memory: Counts, obs: Tensor) -> PerArm:
        """The posterior mean reward of each arm."""
        return self._mean(memory)

    def _plan(self, memory: Counts, rng: Rows) -> Int[Tensor, " B"]:
        """Look up the state; draw uniformly among its optimal arms."""
        code = (memory.wins * (self.n + 1) + memory.losses).long().clamp(max=(self.n + 1) ** 2 - 1)
        code, arm = code.sort(-1, descending=True)
        m = self.solution.best.shape[-1]
        code, arm = code[:, :m], arm[:, :m]
        key = self.words.to(code.device)[code].sum(-1)
        keys = self.solution.key.to(code.device)
        place = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
        best = self.solution.best.to(code.device)[1 - memory.sign, place]
        slot = torch.where(best, rng.at("tie").uniform(m), -1.0).argmax(-1)
        return row_entries(arm, slot)

    def _mean(self, memory: Counts) -> PerArm:
        """Posterior mean reward of each arm, with the sign of this task (the likelier one while unknown)."""
        most = len(self.chance) - 1
        wins, losses = memory.wins.long().clamp(max=most), memory.losses.long().clamp(max=most)
        return self.sign(memory)[:, None] * self.chance.to(wins.device)[wins, losses]


class LikeliestArm(CountingReference):
    """The arm with the largest surplus of wins over losses: the likeliest to be best.

    Exact for one best arm, and for two arms with means p and 1-p under every symmetric prior of p.
    """

    def act(self, memory: Counts, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        return Decision(argmax_random_ties(memory.wins - memory.losses, rng))


def bayes(family: Bandit, split: str) -> Reference:
    """Bayes-optimal for the distribution of ``split`` and its number of pulls."""
    return _bayes(family, family.prior(split), family.trial(split).episodes, "bayes")


def bayes_train(family: Bandit, split: str) -> Reference:
    """Bayes-optimal for the training distribution; past the trained number of pulls it plays greedily.

    If arms depend on one another (pairs, one best arm), greedy play is optimal at every number of pulls.
    """
    return _bayes(family, family.prior("train"), family.n, "bayes_train")


def _bayes(family: Bandit, prior: ArmPrior, n: int, method: str) -> Reference:
    exact = reference_card(method, "exact")
    if family.dependent or family.one_best:
        return LikeliestArm(family.k, prior, exact)
    if family.arms == "gaussian" or count_states(family.k, n) > MOST_STATES:
        return gittins(family, prior, n, method)
    return ExactBandit(family, prior, n, exact)
