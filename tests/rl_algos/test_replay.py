"""Rings of transitions: what is written is what is read, in order, for each task apart."""

import pytest
import torch

from bridge.protocol import Step
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete
from bridge.transitions import stacked
from rl_algos.replay import Replay
from rl_algos.transitions import Transitions

DEVICE = torch.device("cpu")


def ring(capacity: int = 5, tasks: int = 3) -> Replay:
    return Replay(Box((0.0,), (1.0,)), Discrete(4), tasks=tasks, capacity=capacity, device=DEVICE)


def step(reward, *, live=None, terminated=None, truncated=None) -> Step:
    reward = torch.tensor(reward, dtype=torch.float32)
    never = torch.zeros_like(reward, dtype=torch.bool)
    flags = [never if flag is None else torch.tensor(flag) for flag in (terminated, truncated)]
    obs = reward[:, None]
    return Step(
        obs,
        reward.long() % 4,
        reward,
        obs + 0.5,
        *flags,
        None if live is None else torch.tensor(live),
    )


def add(replay: Replay, task: list[int], steps: list[Step]) -> None:
    played = stacked(steps)
    replay.add(torch.tensor(task), Transitions.of(played), played.live)


def held(replay: Replay, task: int) -> list[float]:
    return sorted(replay.rows.reward[task, : replay.size[task]].tolist())


def test_tasks_are_kept_apart_and_the_oldest_are_overwritten():
    replay = ring()
    add(replay, [0, 2], [step([i, 10 + i]) for i in range(4)])
    add(replay, [2], [step([14]), step([15])])
    assert held(replay, 0) == [0, 1, 2, 3]
    assert held(replay, 1) == []
    assert held(replay, 2) == [11, 12, 13, 14, 15]
    assert replay.size.tolist() == [4, 0, 5]


def test_of_more_than_the_capacity_the_last_ones_stay():
    replay = ring()
    add(replay, [1], [step([i]) for i in range(13)])
    assert held(replay, 1) == [8, 9, 10, 11, 12]


def test_every_part_of_a_transition_stays_with_its_others():
    replay = ring()
    add(replay, [1, 0], [step([i, 3 - i], terminated=[i == 2, False]) for i in range(4)])
    got = replay.draw(torch.tensor([0, 1]), 50, Rows.of(0, torch.arange(2)))
    assert torch.equal(got.obs.squeeze(-1), got.reward)
    assert torch.equal(got.next_obs, got.obs + 0.5)
    assert torch.equal(got.action, got.reward.long())
    assert torch.equal(got.terminated, torch.tensor([[False], [True]]) & (got.reward == 2))


def test_dead_rows_are_not_written():
    replay = ring()
    add(replay, [0, 1], [step([0, 5], live=[True, True]), step([1, 6], live=[False, True])])
    add(replay, [0, 1], [step([2, 7], live=[True, False])])
    assert held(replay, 0) == [0, 2]
    assert held(replay, 1) == [5, 6]


def test_a_time_out_is_no_end():
    replay = ring()
    add(replay, [0, 1], [step([1, 2], truncated=[True, False], terminated=[False, True])])
    assert replay.rows.terminated[:2, 0].tolist() == [False, True]


def test_draws_are_even_and_named():
    replay, n = ring(), 40_000
    add(replay, [0, 1], [step([i, i]) for i in range(4)])
    add(replay, [1], [step([4])])
    task, rng = torch.tensor([1, 0]), Rows.of(0, torch.arange(2))
    got = replay.draw(task, n, rng).reward
    for row, count in ((0, 5), (1, 4)):
        found = got[row].long().bincount(minlength=5)[:count] / n
        assert ((found - 1 / count).abs() < 4 * (1 / count / n) ** 0.5).all()
    assert torch.equal(got, replay.draw(task, n, rng).reward)
    assert torch.equal(got[1:], replay.draw(task[1:], n, rng[1:]).reward)


def test_some_may_be_drawn_from_what_was_paid_well():
    """Above the task's mean; from everything where all were paid alike."""
    replay, n = ring(), 20_000
    add(replay, [0, 1], [step([pay, 2.0]) for pay in (0.0, 0.0, 7.0, 0.0)])
    add(replay, [0], [step([5.0])])
    task, rng = torch.tensor([0, 1]), Rows.of(0, torch.arange(2))
    got = replay.draw(task, 2 * n, rng, good=n).reward
    good, rest = got[0, :n], got[0, n:]
    assert set(good.tolist()) == {5.0, 7.0}
    assert abs((good == 7).float().mean() - 0.5) < 4 * 0.5 / n**0.5
    assert abs((rest == 7).float().mean() - 0.2) < 4 * 0.4 / n**0.5
    assert torch.equal(got[:, n:], replay.draw(task, 2 * n, rng).reward[:, n:])
    where = replay.draw(task, 2 * n, rng, good=n)
    assert (where.reward[1] == 2).all()


def test_a_task_without_transitions_cannot_be_drawn_from():
    replay = ring()
    add(replay, [0], [step([1])])
    with pytest.raises(ValueError, match="Task 2 holds no transitions"):
        replay.draw(torch.tensor([0, 2]), 1, Rows.of(0, torch.arange(2)))


def test_the_first_transitions_are_those_written_since_the_task_was_cleared():
    replay = ring()
    add(replay, [0, 1], [step([i, 10 + i]) for i in range(5)])
    replay.clear(torch.tensor([1]))
    add(replay, [1], [step([20]), step([21]), step([22])])
    rows, size = replay.first(torch.tensor([1, 0, 2])), replay.size[torch.tensor([1, 0, 2])]
    assert size.tolist() == [3, 5, 0]
    assert rows.reward.shape == (3, 5)
    assert rows.reward[0, :3].tolist() == [20, 21, 22]
    assert rows.reward[1].tolist() == [0, 1, 2, 3, 4]


def test_a_restored_ring_is_the_ring():
    replay, other = ring(), ring()
    add(replay, [0, 2], [step([i, 10 + i]) for i in range(7)])
    other.load_state_dict(replay.state_dict())
    for each in (replay, other):
        add(each, [2], [step([30])])
    rng = Rows.of(1, torch.arange(2))
    for a, b in zip(
        *(each.draw(torch.tensor([0, 2]), 9, rng) for each in (replay, other)), strict=True
    ):
        assert torch.equal(a, b)
    assert torch.equal(replay.written, other.written)


def test_critics_may_be_paid_otherwise():
    steps = stacked([step([1, 2])])
    rows = Transitions.of(steps, torch.tensor([[-1.0], [-2.0]]))
    assert rows.reward.tolist() == [[1], [2]]
    assert rows.critic_reward.tolist() == [[-1], [-2]]
    assert torch.equal(Transitions.of(steps).critic_reward, rows.reward)


def test_no_place_is_written_twice_in_one_call():
    """Of writes to the same place in one call it is not said which one stays."""

    class Room:
        def __setitem__(self, place, values):
            written = list(zip(*(at.tolist() for at in place), strict=True))
            assert len(written) == len(set(written)) == len(values) == 5 + 5 + 3

    replay = ring()
    replay.rows = Transitions(*(Room() for _ in Transitions._fields))
    live = [[True, True, i < 3] for i in range(13)]
    add(replay, [0, 1, 2], [step([i, 10 + i, 20 + i], live=live[i]) for i in range(13)])
    assert replay.written.tolist() == [13, 13, 3]


def test_paid_well_is_above_the_mean_of_what_is_held():
    """Exactly the mean is not above it; what was held before the task was cleared counts for nothing."""
    replay, task = ring(), torch.tensor([0])
    add(replay, [0], [step([1000]) for _ in range(5)])
    for rewards, good in (([1, 2, 6], {6}), ([1, 2, 3], {3}), ([-3, -1], {-1})):
        replay.clear(task)
        add(replay, [0], [step([reward]) for reward in rewards])
        got = replay.draw(task, 50, Rows.of(0, torch.arange(1)), good=50).reward
        assert set(got.flatten().tolist()) == good


def test_the_first_transitions_are_as_many_as_the_fullest_of_the_asked_has():
    replay = ring()
    add(replay, [0, 1], [step([i, i], live=[True, i < 2]) for i in range(4)])
    for task, longest in (([0, 1], 4), ([1, 2], 2), ([2], 1)):
        rows = replay.first(torch.tensor(task))
        assert rows.reward.shape == (len(task), longest)
