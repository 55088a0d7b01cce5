"""Detection of trials whose mean return is lower than in training."""

import torch

from bridge.detection.low_returns import below, return_quantile
from bridge.protocol import Trial
from bridge.references.registry import reference
from bridge.tasks import family as make_family
from bridge.tasks.base import Discrete
from bridge.test_time.trial_buffer import TrialBuffer


def test_the_threshold_is_the_quantile_of_the_mean_return_so_far():
    """Of an agent that pulls one arm of one kind: a Beta(1, 1) mean, whose running means are uniform at first."""
    family = make_family("bandit:k=2,n=6")
    agent = reference("random", family, "id_val")
    low, middle, high = (
        return_quantile(agent, family, quantile=q, trials=400) for q in (0.1, 0.5, 0.9)
    )
    assert low.shape == (6,)
    assert low[0] == 0
    assert high[0] == 1
    assert (low[1:] <= middle[1:]).all()
    assert (middle[1:] <= high[1:]).all()
    assert abs(middle[-1].item() - 0.5) < 0.1
    assert low[-1] > low[0]


def test_the_same_seed_gives_the_same_threshold_and_more_trials_do_not_move_it_far():
    family = make_family("bandit:k=2,n=6")
    agent = reference("thompson", family, "id_val")
    one, again, more = (
        return_quantile(agent, family, quantile=0.2, trials=n) for n in (300, 300, 3000)
    )
    assert torch.equal(one, again)
    assert (one - more).abs().max() <= 1 / 3


def test_a_trial_is_detected_by_the_mean_of_its_episodes_so_far():
    buffer = TrialBuffer.empty(Discrete(1), Discrete(2), Trial(4, 2), torch.zeros(3))
    buffer.reward[:] = torch.tensor([[1.0, 0, 0, 9], [0, 1, 1, 9], [0, 0, 0, 9]])[..., None] / 2
    worse = below(torch.tensor([0.5, 0.4, 0.4]))
    assert worse(buffer, 0).tolist() == [False, True, True]
    assert worse(buffer, 1).tolist() == [False, False, True]
    assert worse(buffer, 2).tolist() == [True, False, True]
    assert worse(buffer, 3).tolist() == [False, False, False]
    no_returns = below(torch.zeros(4))  # no mean is below the lowest return
    assert no_returns(buffer, 2).tolist() == [False, False, False]
