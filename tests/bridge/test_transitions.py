"""Recorded steps side by side: where each lies, and which rows acted."""

import pytest
import torch

from bridge.protocol import Step
from bridge.transitions import before, by_task, stacked


def step(number: int, live: list[bool] | None = None) -> Step:
    """Rows 0, 1, 2, 3 with rewards 10 times the number of the step plus the row."""
    reward = 10.0 * number + torch.arange(4)
    never = torch.zeros(4, dtype=torch.bool)
    return Step(
        reward[:, None],
        reward.long(),
        reward,
        reward[:, None] + 1,
        never,
        ~never,
        None if live is None else torch.tensor(live),
    )


def test_time_comes_after_rows_or_first():
    made = stacked([step(0), step(1), step(2)])
    assert made.reward[2].tolist() == [2, 12, 22]
    assert made.next_obs.shape == (4, 3, 1)
    assert made.truncated.all()
    assert made.live.shape == (4, 3)
    assert made.live.all()
    assert torch.equal(stacked([step(0), step(1)], 0).action[1], torch.tensor([10, 11, 12, 13]))


def test_rows_that_did_not_act_are_not_live():
    made = stacked([step(0, [True] * 4), step(1, [True, False, True, False])])
    assert made.live.tolist() == [[True, True], [True, False]] * 2


@pytest.mark.parametrize("dim", [0, 1])
def test_before_a_step_stands_what_the_last_one_did(dim: int) -> None:
    made = stacked([step(0), step(1), step(2)], dim)
    steps = (made.obs, made.action, made.reward, made.end)
    first = torch.full((4, 1), 4.0), torch.full((4,), 5), torch.full((4,), 7.0), torch.ones(4)
    for now, last, start in zip(steps, before(steps, first, dim), first, strict=True):
        assert torch.equal(last.select(dim, 0), start)
        assert torch.equal(last.narrow(dim, 1, 2), now.narrow(dim, 0, 2))


def test_a_step_ends_its_episode_by_termination_or_time_out() -> None:
    both = torch.tensor([True, False, True, False])
    one = step(0)._replace(terminated=both, truncated=torch.tensor([True, True, False, False]))
    assert one.end.tolist() == [1, 1, 1, 0]
    assert torch.equal(stacked([one, one]).end, torch.stack([one.end, one.end], 1))


def test_rows_of_a_task_stand_together():
    made = by_task(stacked([step(0), step(1)]), 2)
    assert made.reward.tolist() == [[[0, 10], [1, 11]], [[2, 12], [3, 13]]]
    assert made.obs.shape == (2, 2, 2, 1)
