"""Bayes-optimal play on bandits: exact by dynamic programming where the counts fit, else the Gittins index.

A state is the multiset of (wins, losses) over arms. Arms are exchangeable under the prior, so the order does not
matter, and at most n of k arms can be touched: at k=5, n=10 there are 1,951 states, and at k=50 as many as at k=10
(2,296). Each state's key is a sum of one random 64-bit word per arm, which needs no sorting of arms at play.

Where tasks may pay with a negated sign (axis ``reward_sign``), the sign is unknown until the first reward that is not
zero; three tables (known +, known -, unknown) make that exact too.

For dependent arms (means p and 1-p) every pull tells equally much, so looking one pull ahead is optimal: pull the arm
that the evidence favours (Wang et al. 2016, section 3.1.2).

Shape letters: B trials, k arms, M states, m = min(k, n) arms that can be touched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.bandit.arm_beliefs import Counts, count, no_counts, predictive
from bridge.references.bandit.gittins import gittins
from bridge.references.base import Reference, argmax_random_ties
from bridge.rng import Rows
from bridge.tasks.bandit import ArmPrior, Bandit

MOST_STATES = 400_000
"""Dynamic programming takes seconds up to here."""


class Solution(NamedTuple):
    """The optimal policy of every state that can be reached with a pull to go."""

    key: Int[Tensor, " M"]
    """Sorted keys of the states."""
    best: Bool[Tensor, "3 M m"]
    """Optimal slots (arms in descending order of their code) with sign +, sign unknown, sign -."""
    value: float
    """Expected total reward of a whole trial under the prior."""


def count_states(k: int, n: int) -> int:
    """How many multisets of k (wins, losses) pairs have at most n - 1 pulls in all."""
    m = min(k, n)
    ways = np.zeros((m + 1, n), dtype=object)
    ways[0, 0] = 1
    for pulls in range(n):
        for _outcome in range(pulls + 1):  # each (wins, losses) pair may stand on several arms
            for arms in range(1, m + 1):
                ways[arms, pulls:] += ways[arms - 1, : n - pulls]
    return int(ways[m].sum())


def words(n: int) -> np.ndarray:
    """One fixed random 64-bit word for each code ``wins * (n + 1) + losses``."""
    return Rows.of("bayes/states", torch.arange((n + 1) ** 2)).bits().numpy()


def _key(codes: np.ndarray, n: int) -> np.ndarray:
    return words(n)[codes].sum(-1)  # wraps around, which is fine for a hash


def layers(k: int, n: int) -> list[np.ndarray]:
    """States after 0..n pulls, each row the codes of m arms in descending order."""
    found = [np.zeros((1, min(k, n)), dtype=np.int32)]
    for _ in range(n):
        grown = [
            _after(found[-1], arm, won, n) for arm in range(min(k, n)) for won in (True, False)
        ]
        found.append(np.unique(np.concatenate(grown), axis=0)[:, :])
    return found


def _after(states: np.ndarray, arm: int, won: bool, n: int) -> np.ndarray:
    """The states that pulling ``arm`` makes, arms back in descending order."""
    nxt = states.copy()
    nxt[:, arm] += n + 1 if won else 1
    return -np.sort(-nxt, axis=-1)


@lru_cache(maxsize=8)
def solve(prior: ArmPrior, k: int, n: int) -> Solution:
    """Backward induction over all states. ``prior.scale`` does not matter; ``prior.flipped`` does."""
    chance = predictive(prior, n)
    known = {+1: np.zeros(0), -1: np.zeros(0)}
    states = layers(k, n)
    order = [np.argsort(_key(layer, n)) for layer in states]
    states = [layer[o] for layer, o in zip(states, order, strict=True)]
    keys = [_key(layer, n) for layer in states]
    known = {sign: np.zeros(len(keys[n])) for sign in (1, -1)}
    unknown = np.zeros(len(keys[n]))
    best: list[np.ndarray] = []
    q = prior.flipped
    for t in range(n - 1, -1, -1):
        layer, m = states[t], states[t].shape[1]
        p = chance[layer // (n + 1), layer % (n + 1)]
        win = np.stack(
            [np.searchsorted(keys[t + 1], _key(_after(layer, a, True, n), n)) for a in range(m)], -1
        )
        lose = np.stack(
            [np.searchsorted(keys[t + 1], _key(_after(layer, a, False, n), n)) for a in range(m)],
            -1,
        )
        plus, minus = (p * (s + known[s][win]) + (1 - p) * known[s][lose] for s in (1, -1))
        hidden = (
            p * ((1 - q) * (1 + known[1][win]) + q * (-1 + known[-1][win]))
            + (1 - p) * unknown[lose]
        )
        values = np.stack([plus, hidden, minus])
        top = values.max(-1, keepdims=True)
        best.append(values >= top - 1e-10)
        known, unknown = {1: top[0, :, 0], -1: top[2, :, 0]}, top[1, :, 0]
    start = {0.0: known[1], 1.0: known[-1]}.get(q, unknown)
    key = np.concatenate(keys[n - 1 :: -1])
    rank = np.argsort(key)
    if len(np.unique(key)) != len(key):
        raise AssertionError("two states share a key; change the stream of words()")
    table = np.concatenate(best, axis=1)[:, rank]
    return Solution(torch.from_numpy(key[rank]), torch.from_numpy(table), float(start[0]))


class ExactBandit(Reference):
    """Follows the solved policy for n pulls, then the highest posterior mean."""

    def __init__(self, family: Bandit, prior: ArmPrior, n: int, card: Card) -> None:
        self.k, self.n, self.prior, self.card = family.k, n, prior, card
        self.solution = solve(prior._replace(scale=1.0), family.k, n)
        self.words = torch.from_numpy(words(n))
        self.chance = torch.from_numpy(predictive(prior, 4 * family.n + 1)).float()

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Counts:
        return no_counts(len(rng), self.k, self.prior, rng.device)

    def observe(self, memory: Counts, step: Step, carry: Any = None) -> Counts:
        return count(memory, step, self.prior)

    def act(self, memory: Counts, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        planned = memory.pulls.sum(-1) < self.n
        greedy = argmax_random_ties(self._mean(memory), rng)
        if not explore or not bool(planned.any()):
            return Decision(greedy)
        return Decision(torch.where(planned, self._plan(memory, rng), greedy))

    def _plan(self, memory: Counts, rng: Rows) -> Int[Tensor, " B"]:
        """Look the state up; draw evenly among its optimal arms."""
        code = (memory.wins * (self.n + 1) + memory.losses).long().clamp(max=(self.n + 1) ** 2 - 1)
        code, arm = code.sort(-1, descending=True)
        m = self.solution.best.shape[-1]
        code, arm = code[:, :m], arm[:, :m]
        key = self.words.to(code.device)[code].sum(-1)
        keys = self.solution.key.to(code.device)
        place = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
        best = self.solution.best.to(code.device)[1 - memory.sign, place]
        slot = torch.where(best, rng.at("tie").uniform(m), -1.0).argmax(-1)
        return arm.gather(-1, slot[:, None]).squeeze(-1)

    def _mean(self, memory: Counts) -> Float[Tensor, "B k"]:
        """Posterior mean reward of each arm, with the sign that this task pays (the likelier one while unknown)."""
        likelier = -1.0 if self.prior.flipped > 0.5 else 1.0
        sign = torch.where(memory.sign == 0, likelier, memory.sign.to(torch.float32))[:, None]
        most = len(self.chance) - 1
        wins, losses = memory.wins.long().clamp(max=most), memory.losses.long().clamp(max=most)
        return sign * self.chance.to(wins.device)[wins, losses]


class DependentPair(Reference):
    """Two arms with means p and 1-p: pull the one that the evidence favours; exact for every symmetric law of p."""

    def __init__(self, family: Bandit, prior: ArmPrior, card: Card) -> None:
        self.prior, self.card = prior, card

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Counts:
        return no_counts(len(rng), 2, self.prior, rng.device)

    def observe(self, memory: Counts, step: Step, carry: Any = None) -> Counts:
        return count(memory, step, self.prior)

    def act(self, memory: Counts, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        lead = memory.wins - memory.losses
        return Decision(argmax_random_ties(lead - lead.flip(-1), rng))


def bayes(family: Bandit, split: str) -> Reference:
    """Bayes-optimal for the distribution of ``split`` and its number of pulls."""
    return _bayes(family, family.prior(split), family.trial(split).episodes, "bayes")


def bayes_train(family: Bandit, split: str) -> Reference:
    """Bayes-optimal for the training distribution; past the trained number of pulls it plays greedily."""
    return _bayes(family, family.prior("train"), family.n, "bayes_train")


def _bayes(family: Bandit, prior: ArmPrior, n: int, method: str) -> Reference:
    exact = Card(
        method=method,
        reference=True,
        supervision="prior",
        decode_rule="rule",
        exact_reference="exact",
    )
    if family.dependent:
        return DependentPair(family, prior, exact)
    if family.arms == "gaussian" or count_states(family.k, n) > MOST_STATES:
        return gittins(family, prior, n, method)
    return ExactBandit(family, prior, n, exact)
