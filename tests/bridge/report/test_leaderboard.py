"""The leaderboard: means over families, places and marks, on made-up rows with known scores."""

import numpy as np
import pytest

from bridge.evaluation.stats import Interval, averaged
from bridge.report.leaderboard import boards, still_learning
from bridge.report.learning import Curve
from bridge.report.summary import Results
from tests.bridge.report.made_up import CONTEXT, GRADIENT, bounds, played

GRID, ROOM, SCALE = "gridnavi", "darkroom:variant=ad", "shift/reward_scale"


def interval(mean, half):
    return (pytest.approx(mean), pytest.approx(half, abs=1e-9))


def shown(board, method):
    """A method's cells as mean and half, by column."""
    (row,) = (row for row in (*board.learned, *board.references) if row.method == method)
    means = (cell.mean for cell in row.cells)
    return {
        column.name: (mean.mean, mean.half) if mean else None
        for column, mean in zip(board.columns, means, strict=True)
    }


@pytest.fixture
def two_families():
    """``rl2`` and ``maml`` on two families; the second has no axis ``slip``, and no ``bayes`` plays it."""
    scores = {
        ("rl2", GRID): {"id": (0.8, 0.06), f"{SCALE}/2": (0.5, 0.0), f"{SCALE}/4": (-1.0, 0.3)},
        ("rl2", ROOM): {"id": (0.4, 0.08), f"{SCALE}/4": (0.2, 0.4)},
        ("maml", GRID): {"id": (0.9, 0.0), f"{SCALE}/4": (0.5, 0.0), "shift/slip/4": (0.7, 0.0)},
        ("maml", ROOM): {"id": (0.2, 0.0), f"{SCALE}/4": (0.5, 0.0)},
    }
    rows = [
        played(method, family, split, *score, **(CONTEXT if method == "rl2" else GRADIENT))
        for (method, family), by_split in scores.items()
        for split, score in by_split.items()
    ]
    rows += [played("bayes", GRID, "id", 1.0, exact_reference="exact", supervision="prior")]
    rows += [played("ucb1", GRID, "id", 0.9, exact_reference="heuristic")]
    places = {(columns["family"], columns["split"]) for columns in rows}
    return rows + [columns for place in sorted(places) for columns in bounds(*place)]


def test_cells_are_means_over_families_at_the_strongest_level(two_families):
    """Halves combine in quadrature: (0.06, 0.08) is 0.1 for two families, 0.05 for their mean."""
    (board,) = boards(Results(two_families))
    assert [column.name for column in board.columns] == ["id", "reward_scale", "slip"]
    assert board.level == 4
    assert shown(board, "rl2") == {
        "id": interval(0.6, 0.05),
        "reward_scale": interval(-0.4, 0.25),
        "slip": None,
    }
    assert shown(board, "maml")["slip"] == interval(0.7, 0.0)


def test_learned_methods_are_ranked_by_family_and_sorted_by_their_mean(two_families):
    (board,) = boards(Results(two_families))
    assert {row.method: row.ranks for row in board.learned} == {
        "rl2": {ROOM: 1, GRID: 2},
        "maml": {ROOM: 2, GRID: 1},
    }
    assert [row.method for row in board.learned] == ["rl2", "maml"]
    assert board.families == {ROOM: "darkroom", GRID: "gridnavi"}


def test_a_method_that_lacks_a_family_is_marked_and_comes_last(two_families):
    two_families.append(played("icl_rl", GRID, "id", 1.0, **CONTEXT))
    (board,) = boards(Results(two_families))
    assert [row.method for row in board.learned] == ["rl2", "maml", "icl_rl"]
    assert [cell.complete for cell in board.learned[-1].cells] == [False, False, False]
    assert board.learned[0].cells[0].complete
    assert board.learned[-1].ranks == {GRID: 1}


def test_below_learned_methods_stands_bayes_alone(two_families):
    (board,) = boards(Results(two_families))
    assert [row.method for row in board.references] == ["bayes"]
    assert not board.references[0].cells[0].complete
    assert board.references[0].ranks == {}
    rules = [columns for columns in two_families if columns["exact_reference"]]
    (board,) = boards(Results(rules))
    assert board.learned == []
    assert [row.method for row in board.references] == ["bayes", "ucb1"]


def test_without_an_oracle_bayes_is_one():
    rows = [*bounds(GRID, "id"), played("rl2", GRID, "id", 0.4, **CONTEXT)]
    rows[1]["method"] = "bayes"
    (board,) = boards(Results(rows))
    assert board.ceiling == "bayes"
    assert shown(board, "rl2") == {"id": interval(0.4, 0.0)}


def test_without_scores_there_is_a_column_of_returns_for_each_family():
    rows = [played("rl2", GRID, "id", 3.0, 0.5, **CONTEXT), played("rl2", ROOM, "id", 7.0)]
    (board,) = boards(Results(rows))
    assert board.ceiling == ""
    assert shown(board, "rl2") == {"darkroom": interval(7.0, 0.0), "gridnavi": interval(3.0, 0.5)}


def test_a_shown_context_has_a_board_of_its_own(two_families):
    """Scores there are of the frozen episode, between random play and oracle of the same track."""
    shot = [
        *bounds(GRID, "id", "C"),
        played("lora_demos_icl_rl", GRID, "id", 0.3, track="C", **CONTEXT),
    ]
    for columns in shot:
        columns |= {name: None for name in columns if name.startswith("trial_return")}
    own, shown_to = boards(Results([*two_families, *shot]))
    assert (own.track, shown_to.track) == ("O", "C")
    assert shown(shown_to, "lora_demos_icl_rl") == {"id": interval(0.3, 0.0)}
    assert shown_to.episodes == (1, 1)
    assert "lora_demos_icl_rl" not in {row.method for row in own.learned}


def test_variants_of_one_family_keep_their_parameters():
    names = ("gridnavi", "gridnavi:tasks=8")
    rows = [columns for name in names for columns in bounds(name, "id")]
    rows += [played("rl2", name, "id", 0.5, **CONTEXT) for name in names]
    (board,) = boards(Results(rows))
    assert list(board.families.values()) == list(names)


def test_a_family_without_scores_is_named_and_left_out():
    rows = [
        *bounds(GRID, "id"),
        *(played("rl2", name, "id", 0.5, **CONTEXT) for name in (GRID, ROOM)),
    ]
    (board,) = boards(Results(rows))
    assert (list(board.families), board.unscored) == ([GRID], ["darkroom"])
    assert shown(board, "rl2") == {"id": interval(0.5, 0.0)}


def test_a_reference_is_as_exact_as_where_it_is_least_exact(two_families):
    two_families.append(played("bayes", ROOM, "id", 1.0, exact_reference="near"))
    (board,) = boards(Results(two_families))
    assert [row.about["exact"] for row in board.references] == ["near"]


def test_training_seeds_are_counted_by_family():
    rows = [row for family in (GRID, ROOM) for row in bounds(family, "id")]
    rows += [played("rl2", family, "id", 0.5, **CONTEXT) for family in (GRID, ROOM)]
    second = played("rl2", GRID, "id", 0.6, **CONTEXT)
    second["seed"] = second["seed"] + 1
    (board,) = boards(Results([*rows, second]))
    assert board.learned[0].seeds == {GRID: 2, ROOM: 1}


def test_returns_stand_above_those_of_random_play():
    """There is no oracle, so nothing else says what a return is worth."""
    random, _ = bounds(GRID, "id")
    (board,) = boards(Results([random, played("rl2", GRID, "id", 3.0, **CONTEXT)]))
    assert (board.ceiling, [row.method for row in board.references]) == ("", ["random"])


def test_a_note_names_families_as_the_leaderboard_does():
    names = ("bandit:k=2,n=4", "bandit:k=3,n=4")
    read = Results([row for name in names for row in bounds(name, "id")])
    rising = Curve(1000 * np.arange(1, 11), np.arange(10.0), 50)
    read.learning = {names[1]: {"rl2": {0: rising}}}
    assert still_learning(read) == {"rl2": f"undertrained on {names[1]}"}


def test_a_mean_of_intervals_has_their_halves_in_quadrature():
    several = [Interval(1.0, 0.7, 1.3, 5, "trials"), Interval(2.0, 1.6, 2.4, 9, "trials")]
    found = averaged(several)
    assert (found.mean, found.half, found.n) == (1.5, pytest.approx(0.25), 2)
