"""Gittins indices beside a second implementation: bisection on the payment, a dynamic programme for a single arm."""

import numpy as np
import pytest
from scipy.special import ndtr

from bridge.references.bandit.gittins import bernoulli_indices, gaussian_bonus
from bridge.tasks.bandit import ArmPrior

HORIZON = 50


def retired(wins: np.ndarray, losses: np.ndarray, left: int, tilt: float) -> np.ndarray:
    """The payment at which each arm is worth as much as the payment, with ``left`` pulls to go; within 1e-9."""

    def gain(payment: np.ndarray) -> np.ndarray:
        value = np.zeros((len(wins), left + 1))
        for to_go in range(1, left + 1):
            more = np.arange(left - to_go + 1)  # wins among the pulls so far
            p = (1 + wins[:, None] + more) / (2 + tilt + wins + losses + left - to_go)[:, None]
            pull = (
                p
                - payment[:, None]
                + p * value[:, 1 : len(more) + 1]
                + (1 - p) * value[:, : len(more)]
            )
            value = np.maximum(pull, 0)
        return pull[:, 0]

    low, high = np.zeros(len(wins)), np.ones(len(wins))
    for _ in range(30):
        middle = (low + high) / 2
        worth = gain(middle) > 0
        low, high = np.where(worth, middle, low), np.where(worth, high, middle)
    return low


@pytest.mark.parametrize("tilt", [0.0, 2.0], ids=["Beta(1,1)", "Beta(1,3)"])
@pytest.mark.parametrize("horizon", [4, 12, HORIZON])
def test_bernoulli_indices_are_within_the_figure_that_is_promised(
    tilt: float, horizon: int
) -> None:
    table, offset = bernoulli_indices(
        ArmPrior(tilt=tilt, gap=1, scale=1, flipped=0, sd=0, offset=0), horizon
    )
    for left in sorted(
        {*range(1, min(horizon, 13)), 18, 27, 29, 35, horizon} & set(range(1, horizon + 1))
    ):
        wins, losses = (part.ravel() for part in np.indices((horizon - left + 1,) * 2))
        some = np.flatnonzero(wins + losses <= horizon - left)
        some = some[:: max(1, len(some) // 60)]
        wins, losses = wins[some], losses[some]
        found = table.numpy()[int(offset[left]) + wins * (horizon - left + 1) + losses]
        assert np.abs(found - retired(wins, losses, left, tilt)).max() < 1e-4


def exact_bonus(variance: float, sd: float, left: int, pulls: int) -> float:
    """Index minus mean of a normal arm: values at 401 means, joined by lines whose averages are exact."""
    post = 1 / (1 / variance + np.arange(pulls + left + 1) / sd**2)
    mean = np.linspace(-7, 7, 401) * post[pulls] ** 0.5
    value = np.zeros(len(mean))
    for to_go in range(1, left + 1):
        behind = pulls + left - to_go
        jump = (post[behind] - post[behind + 1]) ** 0.5
        slope = np.array([0, *np.diff(value) / np.diff(mean), to_go - 1])
        x = (mean[:, None] - mean) / jump  # a line's kinks, each the start of a ramp
        pull = mean + jump * (np.exp(-x * x / 2) / np.sqrt(2 * np.pi) + x * ndtr(x)) @ np.diff(
            slope
        )
        value = np.maximum(pull, 0)
    return -float(np.interp(0, pull, mean))


@pytest.mark.parametrize(("sd", "most"), [(0.3, 0.004), (0.02, 0.024)])
def test_gaussian_bonuses_are_off_by_what_is_said(sd: float, most: float) -> None:
    bonus = gaussian_bonus(1 / 12, sd, HORIZON)
    places = [(left, pulls) for left in (1, 2, 10, 20) for pulls in (0, 5)]
    off = [abs(float(bonus[place]) - exact_bonus(1 / 12, sd, *place)) for place in places]
    assert most / 2 < max(off) < most
