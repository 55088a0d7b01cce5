"""What ``bayes_train`` earns under each shift of bandits, against a simulation in numpy that shares no code with it."""

from functools import cache

import numpy as np
import pytest

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.references.registry import reference
from bridge.tasks import family as make_family

K, N = 2, 6
OURS, THEIRS = 20_000, 400_000
BANDIT = make_family(f"bandit:k={K},n={N}")


@cache
def optimal(wins: tuple[int, ...], losses: tuple[int, ...]) -> tuple[float, frozenset[int]]:
    """The value of counts under uniform means with N pulls in all, and the optimal arms."""
    if sum(wins) + sum(losses) == N:
        return 0.0, frozenset()
    values = []
    for arm in range(K):
        p = (1 + wins[arm]) / (2 + wins[arm] + losses[arm])
        more_wins = tuple(w + (i == arm) for i, w in enumerate(wins))
        more_losses = tuple(w + (i == arm) for i, w in enumerate(losses))
        won, lost = optimal(more_wins, losses)[0], optimal(wins, more_losses)[0]
        values.append(p * (1 + won) + (1 - p) * lost)
    best = max(values)
    return best, frozenset(arm for arm, value in enumerate(values) if value > best - 1e-10)


@cache
def table() -> np.ndarray:
    """True for optimal arms, ``[w0, l0, w1, l1, K]``."""
    best = np.zeros((N + 1,) * 4 + (K,), dtype=bool)
    for w0, l0, w1, l1 in np.ndindex(*best.shape[:4]):
        if w0 + l0 + w1 + l1 < N:
            best[w0, l0, w1, l1, list(optimal((w0, w1), (l0, l1))[1])] = True
    return best


def simulated(axis: str, value: float) -> tuple[float, float]:
    """The mean return of a trial, and its standard error."""
    rng = np.random.Generator(np.random.PCG64(len(axis)))
    rows = np.arange(THEIRS)
    tilt, gap = value if axis == "prior" else 0.0, value if axis == "gap" else 1.0
    pulls = int(value) if axis == "horizon" else N
    scale = value if axis == "reward_scale" else 1.0
    sign = np.where(rng.random(THEIRS) < value, -1.0, 1.0) if axis == "reward_sign" else 1.0
    hazard = value if axis == "changes" else 0.0

    def drawn():
        return 0.5 + gap * (rng.beta(1, 1 + tilt, size=(THEIRS, K)) - 0.5)

    means, counts, total = drawn(), np.zeros((THEIRS, K, 2), dtype=int), np.zeros(THEIRS)
    for t in range(pulls):
        if t and hazard:
            means = np.where((rng.random(THEIRS) < hazard)[:, None], drawn(), means)
        if t < N:
            best = table()[tuple(counts.reshape(THEIRS, -1).T)]
        else:
            values = (1 + counts[..., 0]) / (2 + counts.sum(-1))
            best = values > values.max(1, keepdims=True) - 1e-9
        arm = np.where(best, rng.random((THEIRS, K)), -1).argmax(1)
        reward = (rng.random(THEIRS) < means[rows, arm]) * scale * sign
        counts[rows, arm, np.where(reward > 0.5, 0, 1)] += 1  # read as the nearest of 0 and 1
        total += reward
    return total.mean(), total.std() / THEIRS**0.5


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("axis", BANDIT.axes)
def test_it_earns_what_a_simulation_says(axis, level):
    split = f"shift/{axis}/{level}"
    agent = reference("bayes_train", BANDIT, split)
    total = evaluate(agent, BANDIT, Plan(split=split, trials=OURS)).total["trial_return"]
    count, first, second = (float(part[..., -1].sum()) for part in total)
    mean, error = first / count, ((second / count - (first / count) ** 2) / count) ** 0.5
    theirs, their_error = simulated(axis, BANDIT.axes[axis].values[level])
    assert count == OURS
    assert abs(mean - theirs) < 3 * np.hypot(error, their_error)


def test_the_simulated_agent_has_the_known_value_on_id():
    mean, error = simulated("prior", 0.0)
    assert abs(mean - optimal((0, 0), (0, 0))[0]) < 3 * error
