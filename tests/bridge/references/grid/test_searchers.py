"""What searchers remember and read from rewards: one step, one belief at a time."""

from typing import Any

import pytest
import torch

from bridge.protocol import Card, Clues, Step, Trial
from bridge.references.grid.searchers import PermutedSearcher, Searcher, SignedSearcher
from bridge.rng import Rows
from bridge.tasks.darkroom import Darkroom
from bridge.tasks.gridnavi import GridNavi

GRID = GridNavi().grid
CARD = Card(method="test", reference=True)
ORDER = (2, 3, 4, 9)  # (0, 2), (0, 3), (0, 4), (1, 4)
STAY, UP, RIGHT, DOWN, LEFT = range(5)


def arrival(reward: float, *cells: int, action: int = UP, start: int = 0, live: Any = None) -> Step:
    """One transition of a batch, from ``start`` to each of ``cells``."""
    n = len(cells)

    def xy(*numbers: int) -> torch.Tensor:
        return torch.tensor([GRID.cells[number] for number in numbers]).float()

    never = torch.zeros(n, dtype=torch.bool)
    live = None if live is None else torch.tensor(live)
    return Step(
        xy(*[start] * n),
        torch.full((n,), action),
        torch.full((n,), reward),
        xy(*cells),
        never,
        never,
        live,
    )


def begun(agent: Searcher, rows: int = 1) -> dict[str, torch.Tensor]:
    return agent.start(Clues(), Trial(4, 15), Rows.of(0, torch.arange(rows)))


def acts(agent: Searcher, memory: dict[str, torch.Tensor], cell: int) -> int:
    obs = torch.tensor([GRID.cells[cell]]).float()
    return int(agent.act(memory, obs, Rows.of(0, torch.arange(1)), explore=True).action)


def possible(memory: dict[str, torch.Tensor]) -> list[int]:
    return memory["possible"][0].nonzero().flatten().tolist()


# --- the plain searcher -----------------------------------------------------------------------------------------------


def test_the_first_possible_cell_is_walked_to() -> None:
    agent = Searcher(GRID, ORDER, CARD)
    memory = begun(agent)
    assert possible(memory) == [2, 3, 4, 9]
    assert acts(agent, memory, 0) == UP
    memory = agent.observe(memory, arrival(-0.1, 2))
    assert possible(memory) == [3, 4, 9]
    assert acts(agent, memory, 4) == DOWN  # back to cell 3, which comes first


def test_a_goal_is_walked_to_and_stayed_on() -> None:
    agent = Searcher(GRID, ORDER, CARD)
    memory = agent.observe(begun(agent), arrival(1.0, 3))
    assert memory["goal"].tolist() == [3]
    assert [acts(agent, memory, cell) for cell in (2, 3, 4, 8)] == [UP, STAY, DOWN, LEFT]
    later = agent.observe(memory, arrival(1.0, 9))
    assert later["goal"].tolist() == [3]


def test_a_goal_outside_the_prior_is_believed() -> None:
    agent = Searcher(GRID, ORDER, CARD)
    assert agent.observe(begun(agent), arrival(1.0, 24))["goal"].tolist() == [24]


def test_when_every_cell_is_refuted_the_search_begins_again() -> None:
    agent = Searcher(GRID, ORDER, CARD)
    memory = begun(agent)
    for cell in ORDER[:-1]:
        memory = agent.observe(memory, arrival(-0.1, cell))
    assert possible(memory) == [9]
    assert possible(agent.observe(memory, arrival(-0.1, 9))) == sorted(ORDER)


@pytest.mark.parametrize(
    ("factor", "reward", "won"),
    [
        (1.0, 1.0, True),
        (1.0, -0.1, False),
        (1.0, 0.46, True),  # past the middle, which is 0.45
        (1.0, 0.44, False),
        (1.0, 10.0, True),
        (1.0, -1.0, False),
        (10.0, 10.0, True),
        (10.0, 4.0, False),
        (0.1, 0.1, True),
        (0.1, -0.01, False),
    ],
)
def test_a_reward_is_read_as_the_nearest_outcome(factor: float, reward: float, won: bool) -> None:
    agent = Searcher(GRID, ORDER, CARD, factor=factor)
    goal = agent.observe(begun(agent), arrival(reward, 3))["goal"]
    assert goal.tolist() == [3 if won else -1]


def test_dead_rows_learn_nothing() -> None:
    for agent in (
        Searcher(GRID, ORDER, CARD),
        SignedSearcher(GRID, ORDER, CARD, 0.5),
        PermutedSearcher(GRID, ORDER, CARD, 3),
    ):
        before = begun(agent, 2)
        after = agent.observe(before, arrival(1.0, 5, 5, live=[False, True]))
        for name, leaf in after.items():
            assert torch.equal(leaf[0], before[name][0])
        assert after["goal"].tolist() == [-1, 5]


# --- negated rewards --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reward", "sign", "goal"), [(-0.1, 1, -1), (1.0, 1, 3), (0.1, -1, -1), (-1.0, -1, 3)]
)
def test_on_gridnavi_the_first_reward_shows_the_sign(reward: float, sign: int, goal: int) -> None:
    agent = SignedSearcher(GRID, ORDER, CARD, 0.5)
    memory = agent.observe(begun(agent), arrival(reward, 3))
    assert (memory["sign"].tolist(), memory["goal"].tolist()) == ([sign], [goal])


@pytest.mark.parametrize(("reward", "sign", "goal"), [(0.0, 0, -1), (1.0, 1, 3), (-1.0, -1, 3)])
def test_in_a_darkroom_only_the_goal_shows_the_sign(reward: float, sign: int, goal: int) -> None:
    agent = SignedSearcher(GRID._replace(elsewhere=0.0), ORDER, CARD, 0.5)
    memory = agent.observe(begun(agent), arrival(reward, 3))
    assert (memory["sign"].tolist(), memory["goal"].tolist()) == ([sign], [goal])


def test_a_negated_goal_is_left_and_shunned() -> None:
    agent = SignedSearcher(GRID, ORDER, CARD, 0.5)
    memory = agent.observe(begun(agent), arrival(-1.0, 3))
    assert acts(agent, memory, 3) != STAY
    assert {acts(agent, memory, cell) for cell in range(25) if cell != 3} == {STAY}


def test_who_knows_that_all_is_negated_stays_from_the_start() -> None:
    agent = SignedSearcher(GRID, ORDER, CARD, 1.0)
    memory = begun(agent)
    assert memory["sign"].tolist() == [-1]
    assert acts(agent, memory, 0) == STAY


# --- permuted actions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("displaced", "count"), [(2, 10), (3, 20), (4, 30), (5, 24)])
def test_all_cycles_are_listed_once(displaced: int, count: int) -> None:
    maps = PermutedSearcher(GRID, ORDER, CARD, displaced).maps.tolist()
    assert len({tuple(m) for m in maps}) == len(maps) == count
    assert all(sum(a != b for a, b in enumerate(m)) == displaced for m in maps)


def test_a_move_refutes_the_maps_that_disagree() -> None:
    agent = PermutedSearcher(GRID, ORDER, CARD, 2)
    memory = agent.observe(
        begun(agent), arrival(-0.1, 12 + 5, start=12, action=UP)
    )  # up went right
    kept = [
        m for m, keep in zip(agent.maps.tolist(), memory["maps"][0].tolist(), strict=True) if keep
    ]
    assert kept == [[STAY, RIGHT, UP, DOWN, LEFT]]
    assert acts(agent, memory, 1) == RIGHT  # to go up


def test_at_a_wall_moves_that_look_the_same_stay_possible() -> None:
    agent = PermutedSearcher(GRID, ORDER, CARD, 2)
    memory = agent.observe(
        begun(agent), arrival(-0.1, 0, start=0, action=UP)
    )  # up stayed: stay, down or left
    kept = [
        m for m, keep in zip(agent.maps.tolist(), memory["maps"][0].tolist(), strict=True) if keep
    ]
    assert {m[UP] for m in kept} == {STAY, DOWN, LEFT}


def test_impossible_moves_are_forgotten() -> None:
    agent = PermutedSearcher(GRID, ORDER, CARD, 2)
    memory = begun(agent)
    for action, cell in ((UP, 17), (UP, 7), (UP, 12)):
        memory = agent.observe(memory, arrival(-0.1, cell, start=12, action=action))
    assert bool(memory["maps"].any())


def test_rooms_of_other_sizes_share_the_code() -> None:
    agent = Searcher(Darkroom().grid, (99,), CARD)
    obs = torch.tensor([[9.0, 8.0]])
    assert int(agent.act(begun(agent), obs, Rows.of(0, torch.arange(1)), explore=True).action) == 2
