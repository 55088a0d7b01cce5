"""Fine-tuning a policy: on which tasks, by which signal, and that both teach."""

import numpy as np
import pytest
import torch

from bridge.errors import DivergenceError, UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.protocol import Card
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from bridge.training.learner import seeded_init
from llm_adapt import data, finetuning
from llm_adapt.base_policy import fingerprint
from llm_adapt.finetuning import Config, Demonstrations, Returns, Signal, Tuning, tuned_tasks
from llm_adapt.in_context import InContext
from llm_adapt.multi_task import OneEpisode
from llm_adapt.policy import TransformerPolicy, build
from tests.bridge.toys import Corridor

BANDIT = "bandit:k=3,n=6"
CARD = Card(method="x")


def policy(family: TaskFamily, hidden: int = 16, window: int = 16) -> TransformerPolicy:
    """One that prefers some actions already, as a trained one does."""
    with seeded_init(0), torch.no_grad():
        made = build(
            "llama",
            family.observation,
            family.action,
            hidden=hidden,
            layers=1,
            heads=2,
            window=window,
        )
        made.actor.weight *= 100
    return made


def rewarded(family: TaskFamily, base: TransformerPolicy, split: str = "train", **settings):
    config = Config(**({"batch": 240} | settings))
    tuned = config.begin(base, seed=config.seed)
    signal = Returns(InContext(tuned.policy, CARD), family, split, config)
    return tuned, signal, list(Tuning(tuned, signal, config).steps())


@pytest.fixture
def histories(tmp_path):
    family = make_family(BANDIT)
    data.Collection(family, ("ucb1",), rows=40, folder=tmp_path).shard(0)
    (folder,) = tmp_path.iterdir()
    return data.stored(folder, family)


@pytest.mark.parametrize("tuner", ["lora", "ia3", "head", "full"])
def test_no_step_is_no_change(tuner):
    family = make_family(BANDIT)
    base = policy(family)
    before = fingerprint(base)
    tuned, signal, lines = rewarded(family, base, tuner=tuner, steps=0)
    assert lines == []
    assert signal.env_steps == 0
    plain, same = (
        evaluate(InContext(p, Card(method="x")), family, Plan(trials=50)).total
        for p in (base, tuned.policy)
    )
    assert all(np.array_equal(plain[metric], same[metric], equal_nan=True) for metric in plain)
    assert fingerprint(base) == before


@pytest.mark.parametrize("tuner", ["lora", "prompt"])
def test_demonstrations_become_likelier(tuner, histories):
    family = make_family(BANDIT)
    base = policy(family)
    config = Config(tuner=tuner, rank=4, steps=60, lr=0.03, batch=240)
    before, tuned = fingerprint(base), config.begin(base, seed=0)
    signal = Demonstrations(InContext(tuned.policy, CARD), family, histories, config)
    first = signal.loss(0, 1.0)[0].item()
    lines = list(Tuning(tuned, signal, config).steps())
    assert lines[0]["loss"] == first
    assert signal.loss(0, 0.0)[0].item() < first - 0.2
    assert fingerprint(base) == before
    assert {line["env_steps"] for line in lines} == {40 * 6}
    assert [line["grad_steps"] for line in lines] == list(range(1, 61))


def test_what_is_imitated_is_what_the_source_did_where_it_stood(histories, monkeypatch):
    family, seen = make_family(BANDIT), []
    config = Config(batch=120)
    cut = finetuning.cut
    monkeypatch.setattr(finetuning, "cut", lambda *given: seen.append(given) or cut(*given))
    signal = Demonstrations(InContext(policy(family), CARD), family, histories, config)
    signal.loss(0, 1.0)
    signal.loss(1, 1.0)
    (found, asked, did, width, *_), (later, *_) = seen
    assert torch.equal(asked, found.steps.obs)
    assert torch.equal(did, found.steps.action)
    assert (width, len(did)) == (6, 20)
    assert not torch.equal(found.steps.reward, later.steps.reward)


@pytest.mark.parametrize(
    ("split", "horizon"), [("train", 15), ("shift/horizon/4", 60), ("shift/horizon/1", 7)]
)
def test_who_forgets_with_every_episode_imitates_single_ones(split, horizon, tmp_path, monkeypatch):
    family, seen = make_family("gridnavi"), []
    made = data.Collection(family, ("psrl",), split=split, rows=4, folder=tmp_path)
    made.shard(0)
    cut = finetuning.cut
    monkeypatch.setattr(finetuning, "cut", lambda *given: seen.append(given) or cut(*given))
    agent = OneEpisode(policy(family, window=64), CARD)
    signal = Demonstrations(agent, family, data.stored(made.folder, family), Config(batch=60))
    signal.loss(0, 1.0)
    ((found, _, did, width, *_),) = seen
    count = 60 // horizon
    assert (width, did.shape) == (horizon, (count, horizon))
    assert found.length.tolist() == [horizon] * count
    assert torch.equal(found.steps.obs[:, 0], torch.zeros(count, 2))


@pytest.mark.slow
def test_rewards_teach_what_holds_on_tasks_that_were_not_tuned_on():
    """Two arms, rewards negated: a policy that knew nothing loses less than chance (-5) by 8 standard errors (one
    trial's standard deviation is at most 2.6: pulls', and that of the mean of two uniform arms) on other tasks."""
    family, split = make_family("bandit:k=2,n=10"), "shift/reward_sign/4"
    settings = {"tuner": "full", "steps": 200, "lr": 0.01, "batch": 1_000, "tasks": 64}
    tuned, signal, _ = rewarded(family, policy(family, 32), split, **settings)
    assert signal.env_steps == 50_000
    found = evaluate(
        InContext(tuned.policy, Card(method="tuned")), family, Plan(split=split, trials=2_000)
    )
    assert found.mean("trial_return") > -5 + 8 * 2.6 / 2_000**0.5


def test_tasks_that_are_tuned_on_are_those_that_no_evaluation_reaches():
    bandit, grid = make_family(BANDIT), make_family("gridnavi")
    far = tuned_tasks(bandit, "shift/reward_sign/4", 3)
    assert far.tolist() == [1 << 40, (1 << 40) + 1, (1 << 40) + 2]
    assert tuned_tasks(grid, "shift/slip/2", 3).tolist() == [0, 1, 2]
    assert len(tuned_tasks(grid, "id", 1_000)) == grid.support("id")


def test_every_task_is_played_in_turn_on_the_split_that_was_named(monkeypatch):
    family, seen = make_family(BANDIT), []
    play = finetuning.play_trials

    def spy(*given, tasks, **options):
        seen.append(tasks)
        return play(*given, tasks=tasks, **options)

    monkeypatch.setattr(finetuning, "play_trials", spy)
    split = "shift/reward_sign/4"
    _, signal, lines = rewarded(family, policy(family), split, steps=9, tasks=7)
    assert [len(tasks.index) for tasks in seen] == [40, 40, 40]
    assert torch.cat([tasks.index for tasks in seen]).tolist() == [
        (1 << 40) + row % 7 for row in range(120)
    ]
    want = family.sample(split, seen[0].index).params
    assert all(torch.equal(seen[0].params[name], value) for name, value in want.items())
    assert [line["env_steps"] for line in lines] == [240] * 4 + [480] * 4 + [720]
    assert signal.batch.reward.max() <= 0


def test_the_first_ratio_of_a_batch_is_one_where_episodes_end_early():
    """What is learned from is what played: the loss before the first step has no clipped ratio and no gain."""
    family = Corridor(half=1)
    base = policy(family)
    with torch.no_grad():
        torch.nn.init.normal_(base.actor.weight)
    config = Config(batch=400)
    signal = Returns(InContext(base, CARD), family, "train", config)
    signal.loss(0, 1.0)
    log_prob = signal._evaluate(signal.batch).log_prob
    live = signal.batch.live
    torch.testing.assert_close(log_prob[live], signal.targets.behaviour[live], atol=1e-6, rtol=0)
    assert not live.all()
    assert signal.env_steps == int(live.sum())
    _, metrics = signal.loss(1, 1.0)
    assert abs(metrics["approx_kl"]) < 1e-9
    assert -1 < metrics["explained_variance"] < 1


def test_equal_seeds_tune_equally_and_no_generator_moves():
    family = make_family(BANDIT)
    before = torch.get_rng_state()
    one, two, other = (
        rewarded(family, policy(family), steps=5, seed=seed)[2] for seed in (0, 0, 1)
    )
    assert one == two
    assert one != other
    assert torch.equal(torch.get_rng_state(), before)


def test_the_step_size_falls_to_zero(monkeypatch):
    rates = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam,
        "step",
        lambda self: rates.append(self.param_groups[0]["lr"]) or step(self),
    )
    family = make_family(BANDIT)
    rewarded(family, policy(family), steps=4, lr=0.1)
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])


class Broken(Signal):
    """A signal that comes to no number."""

    env_steps = 0

    def loss(self, step: int, left: float):
        return torch.tensor(torch.nan, requires_grad=True), {}


def test_numbers_that_are_none_stop_it():
    config = Config()
    tuned = config.begin(policy(make_family(BANDIT)), seed=0)
    with pytest.raises(
        DivergenceError,
        match=r"a loss or its gradient is no longer a number",
    ):
        list(Tuning(tuned, Broken(), config).steps())


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"steps": -1}, "steps"),
        ({"lr": -1.0}, "lr"),
        ({"lr": 1e99}, "lr of at most 3.4e"),
        ({"lr": float("inf")}, "lr of at most"),
        ({"tasks": 0}, "tasks"),
    ],
)
def test_impossible_settings_are_refused(settings, what):
    with pytest.raises(UserError, match=f"Fine-tuning needs {what}"):
        Config(**settings)
