"""Random play of all degrees of one-sidedness."""

import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.protocol import Clues, Trial
from bridge.references.bandit.one_sided import Skewed
from bridge.rng import Rows
from bridge.tasks import family as make_family
from tests.bridge.toys import Corridor, Reach

BANDIT = make_family("bandit:k=4,n=9")


@pytest.mark.parametrize("family", [BANDIT, Corridor()])
def test_keeps_the_contract(family):
    for check in AGENT_CHECKS.values():
        check(Skewed(family, "id"), family, "id")


def test_distributions_are_of_all_degrees():
    """Means, the share of one-hot ones, and E sum pi^2 by hand, between Dirichlet(1) and one-hot."""
    rng = Rows.of(0, torch.arange(20_000))
    pi = Skewed(BANDIT, "id").start(Clues(), Trial(9, 1), rng)
    torch.testing.assert_close(pi.sum(1), torch.ones(20_000))
    assert (pi >= 0).all()
    assert abs(pi.mean(0) - 0.25).max() < 4 * (0.14 / 20_000) ** 0.5
    assert ((pi == 1).sum().item() / 20_000) == pytest.approx(
        1 / 11, abs=4 * (0.09 / 20_000) ** 0.5
    )
    c = torch.arange(11) / 10
    expected = ((1 - c) ** 2 * 2 / 5 + 2 * c * (1 - c) / 4 + c**2).mean().item()
    assert pi.square().sum(1).mean().item() == pytest.approx(expected, abs=0.01)


def test_actions_are_drawn_from_them():
    agent, rng = Skewed(BANDIT, "id"), Rows.of(0, torch.arange(40_000))
    pi = torch.tensor([0.1, 0.2, 0.3, 0.4]).expand(40_000, -1)
    found = (
        torch.bincount(agent.act(pi, torch.zeros(40_000), rng, explore=True).action, minlength=4)
        / 40_000
    )
    assert (found - pi[0]).abs().max() < 4 * (0.25 / 40_000) ** 0.5


def test_it_lasts_for_a_trial_of_single_steps_and_for_an_episode_elsewhere():
    rng = Rows.of(0, torch.arange(5))
    pi = torch.full((5, 4), 0.25)
    assert torch.equal(Skewed(BANDIT, "id").begin(pi, rng, episode=1), pi)
    walker = Skewed(Corridor(), "id")
    one, two = (walker.begin(pi[:, :2], rng.at(e), episode=e) for e in range(2))
    assert not torch.equal(one, two)


def test_continuous_actions_are_refused():
    with pytest.raises(UserError, match="finitely many"):
        Skewed(Reach(), "id")
