"""MiniGrid: tasks, views and rewards are the package's own, and without it the remedy is named."""

import sys

import numpy as np
import pytest
import torch

from bridge.errors import UserError
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.tasks.minigrid import KINDS, LIMITS, SUITES, VIEW, MiniGrid

IDS = torch.arange(6)
AHEAD, TURN = 2, 1


def begun(family):
    tasks, noise = family.sample("id", IDS), Rows.of(0, IDS)
    return tasks, noise, *family.reset(tasks, noise)


@pytest.mark.parametrize("suite", SUITES)
def test_task_i_is_environment_i(suite):
    family = MiniGrid(suite=suite)
    for i, name in enumerate(SUITES[suite]):
        assert family.make(i).unwrapped.spec.id == f"MiniGrid-{name}-v0"


def test_time_limits_are_the_environments_own():
    family = MiniGrid(suite="mt7")
    found = {name: family.make(i).unwrapped.max_steps for i, name in enumerate(SUITES["mt7"])}
    assert found == LIMITS
    assert family.trial("id").horizon == 720
    assert MiniGrid(suite="mt7", steps=9).make(0).unwrapped.max_steps == 9


def test_an_observation_has_each_cell_of_the_view():
    family = MiniGrid()
    view = family.make(1).reset(seed=3)[0]
    (obs,) = family.observed([view])
    things = obs.view(VIEW, VIEW, sum(KINDS)).split(KINDS, -1)
    assert (np.stack([column.argmax(-1) for column in things], -1) == view["image"]).all()
    assert obs.sum() == 3 * VIEW * VIEW


def test_there_is_an_entry_for_everything_in_minigrid():
    from minigrid.core import constants

    assert (
        tuple(
            len(each)
            for each in (constants.OBJECT_TO_IDX, constants.COLOR_TO_IDX, constants.STATE_TO_IDX)
        )
        == KINDS
    )


def test_layouts_are_drawn_anew_for_every_episode():
    family = MiniGrid()
    tasks, noise, _, first = begun(family)
    assert torch.equal(family.reset(tasks, noise)[1], first)
    assert not torch.equal(family.reset(tasks, noise.at("next"))[1], first)


def test_nothing_is_drawn_after_the_start():
    """So all methods meet the same episodes, whatever they do."""
    family = MiniGrid(suite="mt7")
    for i in range(len(family.environments)):
        env = family.make(i)
        env.reset(seed=4)
        drawn, over = env.unwrapped.np_random.bit_generator.state, False
        for t in range(100):
            if not over:
                *_, terminated, truncated, _ = env.step(t * t % 7)
                over = terminated or truncated
        assert env.unwrapped.np_random.bit_generator.state == drawn


def test_a_goal_pays_the_more_the_sooner_and_lava_nothing():
    """Through a gap in the first row, the goal is four steps ahead, a turn and four more steps away."""
    family = MiniGrid(tasks=1)
    rows = torch.arange(32)
    tasks, noise = family.sample("train", rows), Rows.of(0, rows)
    state, _ = family.reset(tasks, noise)
    total, over = torch.zeros(32), torch.zeros(32, dtype=torch.bool)
    for action in [AHEAD] * 4 + [TURN] + [AHEAD] * 4:
        outcome = family.step(tasks, state, torch.full((32,), action), noise)
        state, total = outcome.state, total + outcome.reward
        over |= outcome.ends()[0]
    assert over.all()  # in lava, or at the goal
    assert sorted(set(total.tolist())) == pytest.approx([0.0, 1 - 0.9 * 9 / 196])
    assert (family.optimal_return(tasks, family.trial("train")) >= total).all()


def test_more_steps_than_a_state_holds_are_refused():
    with pytest.raises(UserError, match=r"at most 10,000 steps; found steps=10,001. Lower it"):
        make_family("minigrid:steps=10001")


def test_without_minigrid_it_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "minigrid", None)
    family = make_family("minigrid:steps=5")
    with pytest.raises(
        UserError, match=r"minigrid:steps=5 needs minigrid .*metabridge\[minigrid\]"
    ):
        family.reset(family.sample("id", IDS), Rows.of(0, IDS))
