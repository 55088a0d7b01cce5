"""Windows: where they begin, and what is beyond a history's end."""

import pytest
import torch

from bridge.rng import Rows
from bridge.tasks.base import Discrete
from llm_adapt.histories import Histories
from llm_adapt.tokens import Layout, Transition
from llm_adapt.windows import cut

LAYOUT = Layout(Discrete(1), Discrete(3))


def numbered(lengths: list[int]) -> Histories:
    """Histories whose rewards and labels count their steps from 1; zeros beyond the end."""
    longest = max(lengths)
    count = torch.arange(1, longest + 1).expand(len(lengths), -1) * (
        torch.arange(longest) < torch.tensor(lengths)[:, None]
    )
    zeros = torch.zeros_like(count)
    steps = Transition(zeros, zeros, count.float(), zeros, zeros.float())
    return Histories(steps, zeros, count, torch.tensor(lengths))


def cut_rows(lengths: list[int], width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """First label, rewards read and weights of a window of each history."""
    found = numbered(lengths)
    windows = cut(
        found, found.asked, found.best, width, LAYOUT, Rows.of("w", torch.arange(len(lengths)))
    )
    place = 1 + 1 + 3
    return windows.label, windows.tokens[..., place], windows.inside


@pytest.mark.parametrize(("length", "width"), [(40, 8), (40, 40), (9, 8)])
def test_a_window_is_a_piece_of_its_history_and_reads_the_step_before(length, width):
    label, read, inside = cut_rows([length] * 500, width)
    assert (inside == 1).all()
    assert torch.equal(label, label[:, :1] + torch.arange(width))
    assert torch.equal(read, label - 1.0)
    assert label.min() == 1
    assert label.max() == length


def test_beginnings_are_read_as_often_as_the_rest():
    """Of the 40 - 8 + 4 + 1 places of windows 8 wide, those before the beginning are moved to it: 5 in 37."""
    label, _, _ = cut_rows([40] * 37_000, 8)
    count = label[:, 0].bincount(minlength=34)[1:]
    assert len(count) == 33
    assert abs(count[0] - 5_000) < 4 * (5_000 * 32 / 37) ** 0.5
    assert ((count[1:] - 1_000).abs() < 4.5 * 1_000**0.5).all()


def test_a_history_shorter_than_a_window_is_read_whole_and_nothing_beyond():
    label, read, inside = cut_rows([3, 12], 10)
    assert inside[0].tolist() == [1] * 3 + [0] * 7
    assert label[0, :3].tolist() == [1, 2, 3]
    assert read[0, :3].tolist() == [0, 1, 2]
    assert (inside[1] == 1).all()
