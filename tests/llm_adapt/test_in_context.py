"""The in-context agent: the contract on every family, and contexts that are shown as if they had been played."""

import math

import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Card, Clues, Step
from bridge.rng import Rows
from bridge.tasks import family as make_family
from llm_adapt import data
from llm_adapt.finetuning import Config, Returns, Tuning
from llm_adapt.in_context import InContext
from llm_adapt.policy import build
from llm_adapt.tokens import Transition
from tests.bridge.toys import Corridor, Reach


def agent(family, *, window=None, backbone="llama") -> InContext:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = build(
            backbone,
            family.observation,
            family.action,
            hidden=16,
            layers=2,
            heads=2,
            window=window,
            positions=64,
        )
        torch.nn.init.normal_(policy.actor.weight)  # so that what was read shows in what is done
    return InContext(policy.eval(), Card(method="in_context"))


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("bandit:k=3,n=6", {}),
        (Corridor(), {}),
        (Corridor(), {"window": 5}),
        (Reach(), {"backbone": "gpt2"}),
        pytest.param("gridnavi", {}, marks=pytest.mark.slow),
        pytest.param("gridnavi", {"window": 20}, marks=pytest.mark.slow),
    ],
)
def test_keeps_the_contract(family, options):
    made = make_family(family) if isinstance(family, str) else family
    for check in AGENT_CHECKS.values():
        check(agent(made, **options), made, "id")


@torch.no_grad()
def test_it_says_what_one_pass_over_its_trial_says():
    """Played step by step over three episodes; then its tokens are read at once."""
    family = make_family("gridnavi")
    made, noise = agent(family), TrialNoise.of(0, torch.arange(3))
    tasks, trial, steps, said = family.sample("id", torch.arange(3)), family.trial("id"), [], []
    memory = made.start(Clues(), trial, noise.agent)
    act = made.act
    made.act = lambda *args, **options: said.append(act(*args, **options)) or said[-1]  # type: ignore[method-assign]
    for episode in range(3):
        memory, _ = play_episode(
            made,
            family,
            tasks,
            memory,
            noise,
            episode=episode,
            horizon=15,
            visit=lambda _t, step, _decision: steps.append(step),
        )
    rows = Transition(
        *(torch.stack(c, 1) for c in zip(*(Transition.of(s) for s in steps), strict=True))
    )
    tokens = made.policy.layout.trial(rows, made.policy.layout.nothing_yet(noise.agent))
    whole = made.policy(tokens).out
    torch.testing.assert_close(
        torch.stack([d.logits for d in said], 1), whole, atol=1e-5, rtol=1e-5
    )


def test_what_it_was_paid_changes_what_it_does():
    family = make_family("bandit:k=3,n=6")
    made, rng = agent(family), Rows.of(0, torch.arange(2))
    memory = made.start(Clues(), family.trial("id"), rng)
    obs = torch.zeros(2, dtype=torch.int64)
    never = torch.zeros(2, dtype=torch.bool)
    paid = torch.tensor([0.0, 1.0])
    memory = made.observe(memory, Step(obs, obs, paid, obs, ~never, never))
    said = made.act(memory, obs, rng, explore=True).logits
    assert said is not None
    assert (said[0] - said[1]).abs().max() > 1e-3


def test_argmax_where_it_is_told_not_to_explore():
    family = make_family("bandit:k=3,n=6")
    made, rng = agent(family), Rows.of(0, torch.arange(500))
    memory = made.start(Clues(), family.trial("id"), rng)
    obs = torch.zeros(500, dtype=torch.int64)
    fixed, free = (made.act(memory, obs, rng, explore=explore) for explore in (False, True))
    assert torch.equal(fixed.action, fixed.logits.argmax(-1))
    assert (free.action != free.logits.argmax(-1)).any()


@pytest.mark.parametrize("spec", ["bandit:k=3,n=6", "point_nav:episodes=1"])
def test_half_precision_plays_and_is_collected(spec, tmp_path):
    """numpy has no bfloat16, and torch no inverse normal distribution of it."""
    family = make_family(spec)
    made = agent(family, window=16)
    made.policy.to(torch.bfloat16)
    assert math.isfinite(evaluate(made, family, Plan(trials=2)).mean("trial_return"))
    assert (
        len(
            data.Collection(
                family, ("half",), rows=2, folder=tmp_path, agents={"half": made}
            ).shard(0)
        )
        == 2
    )


def test_half_precision_is_tuned():
    family, config = make_family("bandit:k=3,n=6"), Config(steps=1, batch=100, tasks=3)
    tuned = config.begin(agent(family).policy.to(torch.bfloat16), seed=0)
    signal = Returns(InContext(tuned.policy, Card(method="half")), family, "train", config)
    (line,) = Tuning(tuned, signal, config).steps()
    assert math.isfinite(line["loss"])
