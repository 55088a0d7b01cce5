"""The token of a step: what is where in it, and that whole trials are read as an agent reads them."""

import torch

from bridge import memory as tree
from bridge.protocol import Step
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete
from llm_adapt.tokens import Layout, Transition

CORRIDOR = Layout(Discrete(3), Discrete(2))
PLANE = Layout(Box((0.0, -1.0), (4.0, 1.0)), Box((-2.0,), (2.0,)))


def test_a_token_is_the_observation_then_the_last_transition():
    last = Transition(*(torch.tensor([x]) for x in (0, 1, 7.5, 2, 0.0)))
    token = CORRIDOR.token(torch.tensor([1]), last)
    #                     the observation, the last one, action, reward, next observation, end
    assert token.tolist() == [[*(0, 1, 0), *(1, 0, 0), *(0, 1), 7.5, *(0, 0, 1), 0]]
    assert token.shape[1] == CORRIDOR.width


def test_boxes_are_scaled_and_rewards_are_not():
    last = Transition(*(torch.tensor([x]) for x in ([4.0, -1.0], [1.0], -300.0, [3.0, 0.5], 1.0)))
    token = PLANE.token(torch.tensor([[1.0, 0.0]]), last)
    assert token.tolist() == [[*(-0.5, 0), *(1, -1), 0.5, -300, *(0.5, 0.5), 1]]
    assert token.shape[1] == PLANE.width


def test_before_the_first_step_there_is_an_end_and_else_nothing():
    for layout in (CORRIDOR, PLANE):
        rows = Rows.of(0, torch.arange(2))
        first = layout.nothing_yet(rows)
        token = layout.token(first.obs, first)
        assert token.shape == (2, layout.width)
        assert token[:, :-1].abs().max() == 0
        assert token[:, -1].tolist() == [1, 1]


def test_both_kinds_of_end_are_told():
    ends = torch.tensor([[True, False], [False, True], [False, False]])
    zeros, nowhere = torch.zeros(3), torch.zeros(3, dtype=torch.int64)
    told = Transition.of(Step(nowhere, nowhere, zeros, nowhere, ends[:, 0], ends[:, 1]))
    assert told.end.tolist() == [1, 1, 0]


def test_a_trial_is_read_as_an_agent_reads_it_step_by_step():
    """The second step ends an episode in state 2; the third begins the next one in state 0."""
    obs, next_obs = torch.tensor([[0, 1, 0, 1]]), torch.tensor([[1, 2, 1, 0]])
    action, reward = torch.tensor([[1, 1, 0, 1]]), torch.tensor([[0.0, 5.0, 2.0, 1.0]])
    terminated, never = torch.tensor([[False, True, False, False]]), torch.tensor([[False] * 4])
    first = CORRIDOR.nothing_yet(Rows.of(0, torch.arange(1)))
    whole = CORRIDOR.trial(
        Transition.of(Step(obs, action, reward, next_obs, terminated, never)), first
    )
    last, tokens = first, []
    for t in range(4):
        tokens.append(CORRIDOR.token(obs[:, t], last))
        columns = tree.leaves(Step(obs, action, reward, next_obs, terminated, never))
        last = Transition.of(Step(*(column[:, t] for column in columns)))
    assert whole.tolist() == torch.stack(tokens, 1).tolist()
    assert whole[0, 2].tolist() == [*(1, 0, 0), *(0, 1, 0), *(0, 1), 5, *(0, 0, 1), 1]
