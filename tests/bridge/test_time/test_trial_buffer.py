"""The buffer of a trial: recorded by episode, read as one sequence, and put back."""

import torch

from bridge.protocol import Step, Trial
from bridge.tasks.base import Box, Discrete
from bridge.test_time.trial_buffer import TrialBuffer, live_first


def recorded() -> tuple[TrialBuffer, list[list[Step]]]:
    """Two rows, three episodes of at most three steps; row 0 lives 3, 1 and 2 of them, row 1: 2, 3 and none."""
    lengths = [[3, 2], [1, 3], [2, 0]]
    buffer = TrialBuffer.empty(
        Box((0.0, 0.0), (1.0, 1.0)), Discrete(4), Trial(3, 3), torch.zeros(2)
    )
    shown, number = [], 0
    for episode, length in enumerate(torch.tensor(lengths)):
        steps = []
        for t in range(int(length.max())):
            number += 1
            live, last = t < length, length == t + 1
            obs = torch.full((2, 2), float(number)) + torch.tensor([[0.0], [0.5]])
            step = Step(
                obs, torch.tensor([number % 4, 1]), obs[:, 0], obs + 1, last, last & False, live
            )
            buffer.record(step, torch.full((2,), episode))
            steps.append(step)
        shown.append(steps)
    return buffer, shown


def test_live_steps_are_read_in_their_order_and_outputs_go_back_to_them():
    buffer, _ = recorded()
    assert buffer.live.sum((1, 2)).tolist() == [6, 5]
    packed = buffer.packed()
    assert packed.reward[0].tolist() == [1, 2, 3, 4, 7, 8]
    assert packed.reward[1, :5].tolist() == [1.5, 2.5, 4.5, 5.5, 6.5]
    assert packed.live[1].tolist() == [True] * 5 + [False]
    outputs = buffer.unpacked(packed.reward[..., None]).squeeze(-1)
    assert torch.equal(torch.where(buffer.live, outputs, 0.0), buffer.reward)
    assert outputs.isfinite().all()


def test_empty_places_hold_nothing():
    buffer, _ = recorded()
    for part in (buffer.reward, buffer.terminated, buffer.truncated):
        assert not part[~buffer.live].any()


def test_an_episode_is_given_back_as_it_was_observed():
    buffer, shown = recorded()
    for episode, steps in enumerate(shown):
        again = buffer.steps(episode)
        assert len(again) == len(steps)
        for one, other in zip(again, steps, strict=True):
            assert torch.equal(one.live, other.live)
            for mine, theirs in zip(one[:6], other[:6], strict=True):
                assert torch.equal(mine[one.live], theirs[one.live])


def test_an_empty_buffer_has_one_place_to_read():
    assert live_first(torch.zeros(3, 5, dtype=torch.bool)).shape == (3, 1)
