"""Prioritised level replay: what is kept, and how often it is played again."""

import pytest
import torch

from bridge.errors import UserError
from bridge.rng import Rows
from bridge.tasks import family
from bridge.training.level_replay import STALENESS, TEMPERATURE, LevelReplay
from bridge.training.workers import Workers
from rl_algos.rl2 import Config, Rl2Learner

SMALL = {"hidden": 8, "steps_per_update": 240, "minibatches": 2, "epochs": 2}


def replay(numbers, scores, update=0, capacity=8):
    kept = LevelReplay(capacity)
    kept.put(torch.tensor(numbers), torch.tensor(scores), update)
    return kept


def test_the_tasks_of_the_highest_scores_are_kept_each_once():
    kept = replay([5, 7, 9, 7], [0.3, 0.9, 0.1, 0.2], capacity=3)
    assert kept.number.tolist() == [5, 7, 9]
    assert kept.score.tolist() == pytest.approx([0.3, 0.2, 0.1])  # of 7 the last score counts
    kept.put(torch.tensor([9, 4]), torch.tensor([0.8, 0.25]), 1)
    assert kept.number.tolist() == [9, 5, 4]
    assert kept.played.tolist() == [1, 0, 1]


def test_chances_are_those_of_the_paper():
    """Ranks 1, 2, 3 to the power of -1 / beta, and updates since then, mixed by rho."""
    kept = replay([1, 2], [0.5, 0.1])
    kept.put(torch.tensor([3]), torch.tensor([0.3]), 2)
    rank = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) ** (-1 / TEMPERATURE)
    stale = torch.tensor([4.0, 2.0, 4.0], dtype=torch.float64) / 10  # tasks 1, 3, 2
    assert kept.number[:3].tolist() == [1, 3, 2]
    expected = (1 - STALENESS) * rank / rank.sum() + STALENESS * stale
    torch.testing.assert_close(kept.chances(4), expected)
    assert kept.chances(4).sum() == pytest.approx(1)


def test_tasks_that_were_all_just_played_are_equally_stale():
    assert replay([1, 2, 3], [0.2] * 3).chances(0).sum() == pytest.approx(1)


def test_the_first_task_of_a_batch_is_replayed_by_these_chances():
    kept, draws = replay([11, 12, 13], [0.9, 0.5, 0.1]), 4_000
    one = [
        int(kept.draw(torch.tensor([99]), 1.0, 3, Rows.of("draws", torch.tensor([i]))))
        for i in range(draws)
    ]
    for number, chance in zip((11, 12, 13), kept.chances(3).tolist(), strict=True):
        assert one.count(number) / draws == pytest.approx(chance, abs=0.02)


def test_a_share_of_a_batch_replays_and_no_task_twice_before_all():
    numbers = list(range(1_000))
    kept = replay(numbers, [1.0 / (1 + n) for n in numbers], capacity=1_000)
    drawn = kept.draw(torch.full((2_000,), 5_000), 0.1, 3, Rows.of("draws", torch.arange(2_000)))
    replayed = drawn[drawn < 5_000]
    assert len(replayed) / 2_000 == pytest.approx(0.1, abs=0.02)
    assert len(replayed.unique()) == len(replayed)
    assert replayed.double().mean() < 350  # of 0 to 999: those of high scores come first
    everything = kept.draw(drawn, 1.0, 3, Rows.of("draws", torch.arange(2_000)))
    assert everything.bincount().unique().tolist() == [2]


def test_nothing_is_replayed_before_anything_was_played():
    new = torch.arange(5)
    assert LevelReplay().draw(new, 1.0, 0, Rows.of("draws", new)).equal(new)


def learner(**settings) -> Rl2Learner:
    made = family("bandit:k=3,n=6,tasks=50")
    return Rl2Learner(made, Config(**(SMALL | settings)), seed=0)


def test_an_update_keeps_the_tasks_that_it_played_and_their_surprise():
    made = learner(replay=1.0)
    numbers = made._numbers()
    made.update()
    kept = made.levels.number[: made.levels.kept]
    assert set(kept.tolist()) == set(numbers.tolist()) <= set(range(50))
    assert (made.levels.score[: made.levels.kept] > 0).all()
    assert set(made._numbers().tolist()) == set(numbers.tolist())


def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped():
    whole, first = learner(replay=0.9), learner(replay=0.9)
    for made in (whole, first):
        made.update()
    second = learner(replay=0.9)
    second.load_state_dict(first.state_dict())
    for made in (whole, second):
        made.update(0.5)
    ours, theirs = whole.state_dict(), second.state_dict()
    assert all(ours["network"][k].equal(theirs["network"][k]) for k in ours["network"])
    assert ours["levels"]["number"].equal(theirs["levels"]["number"])


def test_without_replay_a_state_is_as_it_was():
    assert "levels" not in learner().state_dict()


def test_several_processes_are_refused():
    two = Workers()
    two.count = 2
    with pytest.raises(UserError, match=r"found 2. Train with replay=0, or with --processes 1"):
        Rl2Learner(family("bandit"), Config(**SMALL, replay=0.5), seed=0, workers=two)
