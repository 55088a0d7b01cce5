"""The agents' returns: exact where they are known, published where they were measured; and the contract."""

from collections.abc import Callable

import pytest
import torch

from bridge.conformance import check_agent
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.evaluation.sums import Evaluation
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Agent, Clues
from bridge.references.grid.goal_search import Psrl, Search, Thompson, bayes, bayes_train
from bridge.references.grid.oracle import Oracle
from bridge.references.grid.search_plan import best_plan
from bridge.references.grid.visiting_orders import SearchProblem
from bridge.tasks.base import Tasks
from bridge.tasks.darkroom import Darkroom
from bridge.tasks.goal_grid import GoalGrid
from bridge.tasks.gridnavi import GridNavi

Make = Callable[[GoalGrid, str], Agent]
AGENTS: dict[str, Make] = {
    "oracle": Oracle,
    "search": Search,
    "bayes": bayes,
    "bayes_train": bayes_train,
    "thompson": Thompson,
    "psrl": Psrl,
}
NAVI, INNER = GridNavi(), GridNavi(train="inner")
KNOWN = 232.5 / 21  # the return of an episode of gridnavi for who knows the goal: 11.07


def play(make: Make, family: GoalGrid, split: str = "id", trials: int = 21) -> Evaluation:
    return evaluate(make(family, split), family, Plan(split=split, trials=trials))


def returns(agent: Agent, family: GoalGrid, tasks: Tasks) -> torch.Tensor:
    """The return of every row and episode on ``tasks``, ``[B, K]``."""
    noise, trial = TrialNoise.of(0, tasks.index), family.trial("id")
    memory, earned = agent.start(Clues(), trial, noise.agent), []
    for episode in range(trial.episodes):
        memory, totals = play_episode(
            agent, family, tasks, memory, noise, episode=episode, horizon=trial.horizon
        )
        earned.append(totals.reward)
    return torch.stack(earned, -1)


def curve(result: Evaluation) -> list[float]:
    """The mean return of each episode that is a curve point."""
    return [result.mean("episode_return", point) for point in range(len(result.points))]


# --- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "split"),
    [(name, "id") for name in AGENTS]
    + [
        ("oracle", "shift/action_permutation/3"),
        ("bayes", "shift/action_permutation/3"),
        ("bayes", "shift/reward_sign/2"),
    ],
)
def test_they_keep_the_contract(name: str, split: str) -> None:
    family = GridNavi(episodes=2)
    check_agent(AGENTS[name](family, split), family, split)


def test_cards() -> None:
    cards = {name: make(NAVI, "id").card for name, make in AGENTS.items()}
    assert [card.method for card in cards.values()] == list(AGENTS)
    assert all(card.reference and card.decode_rule == "rule" for card in cards.values())
    assert [name for name, card in cards.items() if card.clue == "task"] == ["oracle"]
    assert [name for name, card in cards.items() if card.supervision == "none"] == ["search"]
    assert [name for name, card in cards.items() if card.exact_reference == "exact"] == [
        "oracle",
        "bayes",
        "bayes_train",
    ]


@pytest.mark.parametrize(
    ("split", "exact"),
    [
        ("shift/horizon/1", "exact"),
        ("shift/reward_scale/1", "exact"),
        ("shift/reward_sign/2", "exact"),
        ("shift/reward_sign/4", "exact"),
        ("shift/slip/1", "near"),
        ("shift/action_permutation/1", "near"),
    ],
)
def test_bayes_says_where_it_is_exact(split: str, exact: str) -> None:
    assert bayes(NAVI, split).card.exact_reference == exact


# --- exact returns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [bayes, bayes_train])
@pytest.mark.parametrize("split", ["train", "id_val", "id"])
def test_gridnavi_is_4_and_then_11_07(make: Make, split: str) -> None:
    assert curve(play(make, NAVI, split)) == pytest.approx([4.0, KNOWN, KNOWN, KNOWN], abs=1e-5)


@pytest.mark.parametrize(
    "family",
    [NAVI, INNER, Darkroom(episodes=3), Darkroom(train="hole", episodes=3)],
    ids=lambda f: f.id,
)
def test_bayes_earns_what_its_plan_promises(family: GoalGrid) -> None:
    """Over all goals of the prior, which for darkrooms are those of the three streams together."""
    plan = best_plan(
        SearchProblem(
            family.grid._replace(episodes=family.trial("id").episodes), family.prior_goals("id")
        )
    )
    splits = ("train", "id_val", "id") if family.name == "darkroom" else ("id",)
    goals = {split: len(family.goals(split)) for split in splits}
    total = sum(
        n * play(bayes, family, split, n).mean("trial_return") for split, n in goals.items()
    )
    assert total / sum(goals.values()) == pytest.approx(plan.value, rel=1e-6)


@pytest.mark.parametrize("level", range(1, 5))
def test_bayes_knows_the_shell_and_bayes_train_does_not(level: int) -> None:
    split = f"shift/goal_shell/{level}"
    n = 5 - level
    near, far = play(bayes, INNER, split, n), play(bayes_train, INNER, split, n)
    d = 4 + level
    first = sum((16 - t) - 0.1 * (t - 1) for t in (d + 2 * i for i in range(n))) / n
    assert curve(near)[0] == pytest.approx(first, abs=1e-5)
    assert curve(near)[1:] == pytest.approx([(16 - d) - 0.1 * (d - 1)] * 3, abs=1e-5)
    assert far.mean("trial_return") < near.mean("trial_return")


def test_a_known_factor_scales_returns_and_an_unknown_one_misleads() -> None:
    for level, factor in ((1, 0.1), (2, 0.3), (3, 3.0), (4, 10.0)):
        split = f"shift/reward_scale/{level}"
        assert play(bayes, NAVI, split).mean("trial_return") == pytest.approx(
            factor * (4 + 3 * KNOWN), rel=1e-5
        )
        misled = play(bayes_train, NAVI, split).mean("trial_return")
        assert (
            misled == pytest.approx(factor * (4 + 3 * KNOWN), rel=1e-5)
            if factor > 1
            else misled < 0
        )


@pytest.mark.parametrize("level", range(1, 5))
def test_on_gridnavi_the_sign_is_seen_for_free(level: int) -> None:
    """Straight tasks earn 37.21 on average and negated ones 6.0, as if the sign had been told."""
    split, n = f"shift/reward_sign/{level}", 420
    result = play(bayes, NAVI, split, n)
    tasks = NAVI.sample(split, torch.arange(n))
    straight = returns(
        bayes(NAVI, "id"), NAVI, tasks._replace(params={"goal": tasks.params["goal"]})
    ).sum(-1)
    expected = torch.where(tasks.params["factor"] < 0, 6.0, straight)
    assert result.mean("trial_return") == pytest.approx(float(expected.mean()), abs=1e-4)


def test_who_knows_that_all_is_negated_loses_nothing() -> None:
    for family in (NAVI, Darkroom(episodes=1), Darkroom(variant="ad", episodes=2)):
        assert play(bayes, family, "shift/reward_sign/4", 100).mean("regret") == pytest.approx(
            0, abs=1e-4
        )


def test_search_needs_no_prior() -> None:
    """Whatever the shift of goals or actions' reliability, it ends at the goal."""
    for split in ("id", "shift/goal_shell/4", "shift/slip/2"):
        assert play(Search, GridNavi(train="inner", episodes=8), split, 110).mean(
            "success"
        ) == pytest.approx(1, abs=0.02)


def test_search_sweeps_the_dpt_room_in_one_episode() -> None:
    """Column by column: goal (x, y) is found at its place in the order, noop first."""
    family = Darkroom(episodes=2)
    steps = [1 + 10 * x + (y if x % 2 == 0 else 9 - y) for x, y in family.goals("id")]
    assert curve(play(Search, family, "id", 20)) == pytest.approx(
        [sum(101 - t for t in steps) / 20, 90.90]
    )


# --- permuted actions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", range(1, 5))
def test_bayes_learns_the_actions_within_two_episodes(level: int) -> None:
    result = play(bayes, NAVI, f"shift/action_permutation/{level}", 630)
    assert curve(result)[2:] == pytest.approx([KNOWN, KNOWN], abs=1e-4)
    assert result.mean("trial_return") > 32.5
    assert (
        play(bayes_train, NAVI, f"shift/action_permutation/{level}", 210).mean("trial_return") < 5
    )


# --- sampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "measured"),
    [(Thompson, {1: 2.3, 2: 5.7, 5: 12.7, 10: 16.5}), (Psrl, {10: 6.2, 20: 10.6, 50: 16.54})],
)
def test_sampling_in_the_ad_room_agrees_with_what_others_measured(
    make: Make, measured: dict[int, float]
) -> None:
    """Over all 81 goals; theirs came without standard errors, to one decimal."""
    family, n = Darkroom(variant="ad", episodes=max(measured)), 81 * 16
    goals = torch.tensor(family.prior_goals("id")).repeat(n // 81, 1)
    earned = returns(make(family, "id"), family, Tasks(torch.arange(n), {"goal": goals}))
    for episode, value in measured.items():
        mean, error = (
            float(earned[:, episode - 1].mean()),
            float(earned[:, episode - 1].std()) / n**0.5,
        )
        assert abs(mean - value) < 4 * error + 0.06, (episode, mean, error)


@pytest.mark.parametrize("make", [Thompson, Psrl])
def test_no_refuted_cell_is_drawn_again(make: Make) -> None:
    """One draw an episode refutes a cell at least, so the last of eleven goals is known before episode 12."""
    family = GridNavi(train="inner", episodes=12)
    assert curve(play(make, family, "id", 220))[-1] == pytest.approx(12.5, abs=1e-5)
