"""Tasks that change within a trial."""

import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.references.registry import reference
from bridge.tasks import FAMILIES
from bridge.tasks import family as make_family

B = 2_000
BANDIT = make_family("bandit:k=5,n=10")


def tasks_of(level: int, family=BANDIT):
    """The means that each trial plays in each episode, ``[B, E, k]``."""
    tasks = family.sample(f"shift/changes/{level}", torch.arange(B))
    return torch.stack([family.task_of(tasks, e).params["means"] for e in range(10)], 1)


def changed(level: int) -> torch.Tensor:
    means = tasks_of(level)
    return (means[:, 1:] != means[:, :-1]).any(-1)


def test_the_first_task_is_that_of_id():
    first = BANDIT.sample("id", torch.arange(B)).params["means"]
    for level in range(1, 5):
        means, unchanged = tasks_of(level), ~changed(level).any(1)
        assert torch.equal(means[:, 0], first)
        assert torch.equal(means[unchanged, -1], first[unchanged])


def test_a_task_changes_before_an_episode_with_the_probability_of_its_level():
    for level, hazard in enumerate((0.05, 0.1, 0.2, 0.4), 1):
        rate = changed(level).double().mean(0)
        error = (hazard * (1 - hazard) / B) ** 0.5
        assert (rate - hazard).abs().max() < 4.5 * error


def test_a_higher_level_has_the_changes_of_a_lower_one():
    for level in (1, 2, 3):
        assert (changed(level) <= changed(level + 1)).all()


def test_new_tasks_are_fresh_ones():
    means = tasks_of(4)
    first, last = means[:, 0], means[:, -1]
    moved = (first != last).any(-1)
    assert torch.corrcoef(torch.stack([first[moved, 0], last[moved, 0]]))[0, 1].abs() < 0.1
    assert last[moved].mean() == pytest.approx(0.5, abs=0.02)
    assert len(last[moved].unique(dim=0)) == moved.sum()


def test_an_episode_may_be_one_a_row():
    tasks = BANDIT.sample("shift/changes/4", torch.arange(B))
    episode = torch.arange(B) % 10
    rows = BANDIT.task_of(tasks, episode).params["means"]
    assert torch.equal(rows, tasks_of(4)[torch.arange(B), episode])


def test_a_task_of_any_other_split_is_itself():
    tasks = BANDIT.sample("shift/gap/4", torch.arange(3))
    assert BANDIT.task_of(tasks, 7) is tasks


@pytest.mark.parametrize(
    "name", [n for n, made in FAMILIES.items() if made.solved and "changes" in made().axes]
)
def test_the_oracle_follows_every_change(name):
    """Its regret is 0 up to chance, and an oracle of the first task regrets."""
    family = FAMILIES[name]()
    episodes = min(4, family.trial("id").episodes)
    if "episodes" in family.__dataclass_fields__:
        family = make_family(f"{name}:episodes={episodes}")
    split = "shift/changes/4"
    stale = reference("oracle", family, split).oracle
    fresh = evaluate(reference("oracle", family, split), family, Plan(split=split, trials=200))
    old = evaluate(stale, family, Plan(split=split, trials=200))
    scale = old.mean("regret")
    assert scale > 0
    assert abs(fresh.mean("regret")) < 0.05 * scale


def test_regret_is_against_the_task_of_each_episode():
    split, trials = "shift/changes/4", 500
    found = evaluate(reference("random", BANDIT, split), BANDIT, Plan(split=split, trials=trials))
    best = tasks_of(4)[:trials].amax(-1).sum(1).mean()
    expected = best - tasks_of(4)[:trials].mean(-1).sum(1).mean()
    assert found.mean("regret") == pytest.approx(float(expected), abs=0.15)


def test_an_agent_that_trusts_its_past_regrets_more():
    plans = [Plan(split=split, trials=2_000) for split in ("id", "shift/changes/4")]
    regrets = [
        evaluate(reference("ucb1", BANDIT, p.split), BANDIT, p).mean("regret") for p in plans
    ]
    assert regrets[1] > regrets[0] + 0.5


def test_the_oracle_regrets_nothing_in_any_trial():
    """Regret of a bandit has no chance in it, so the sum of its squares is 0, too."""
    split = "shift/changes/4"
    found = evaluate(reference("oracle", BANDIT, split), BANDIT, Plan(split=split, trials=400))
    _, _, squares = found.total["regret"]
    assert squares.sum() < 1e-8


@pytest.mark.parametrize("track", ["C", "F"])
def test_a_scored_episode_plays_the_task_of_its_number(track):
    split, plan = "shift/changes/4", Plan(split="shift/changes/4", trials=400, track=track, shots=6)
    fresh, random = (reference(name, BANDIT, split) for name in ("oracle", "random"))
    behaviour = {"behaviour": random} if track == "C" else {}
    found = evaluate(fresh, BANDIT, plan, **behaviour)
    assert found.mean("regret") == 0
    stale = evaluate(fresh.oracle, BANDIT, plan, **behaviour)
    means = tasks_of(4)[:400]
    first = means[:, 0].argmax(-1, keepdim=True)
    lost = means[:, 6].amax(-1) - means[:, 6].gather(-1, first).squeeze(-1)
    assert stale.mean("regret") == pytest.approx(float(lost.mean()), abs=1e-5)


@pytest.mark.parametrize("name", ["oracle", "graded"])
@pytest.mark.parametrize("rule", AGENT_CHECKS)
def test_an_oracle_of_changes_keeps_the_contract(name, rule):
    split = "shift/changes/4"
    AGENT_CHECKS[rule](reference(name, BANDIT, split), BANDIT, split)


def test_no_rows_have_no_tasks_to_change():
    tasks = BANDIT.sample("shift/changes/4", torch.arange(0))
    assert BANDIT.task_of(tasks, 3) is tasks
