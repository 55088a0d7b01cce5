"""LoRA-MAML: the gradient through inner steps, what is trained when, and that test does what training looked at."""

import copy
from typing import Any

import pytest
import torch

from bridge import memory as tree
from bridge import spaces
from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.maths.baselines import episode_advantages
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Clues
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.test_time.trial_buffer import TrialBuffer
from llm_adapt.base_policy import fingerprint
from llm_adapt.lora_maml import Config, LoraMamlLearner, Stage
from tests.bridge.toys import Corridor

TINY: dict[str, Any] = {
    "hidden": 8,
    "layers": 1,
    "heads": 2,
    "window": 16,
    "steps_per_update": 80,
    "minibatches": 1,
    "epochs": 1,
    "rank": 2,
    "tasks_per_update": 3,
    "inner_every": 2,
}
MDP = make_family("tabular_mdp:n=4")


def learner(family: Any = MDP, **settings: Any) -> LoraMamlLearner:
    made = LoraMamlLearner(family, Config(**(TINY | settings)), seed=0)
    with torch.no_grad():
        for number, (name, x) in enumerate(made.start.items()):
            if name.startswith("up"):  # so that all gradients are there
                x += 0.3 * Rows.of(f"up/{number}", torch.arange(1)).normal(x[0].numel()).view_as(x)
        torch.nn.init.normal_(
            made.base.policy.actor.weight, generator=torch.Generator().manual_seed(0)
        )
    return made


@pytest.mark.parametrize("settings", [{}, {"inner_steps": 2}, {"inner_stages": 1}])
def test_the_meta_gradient_is_that_of_finite_differences(settings):
    """Through every inner step. (GPT-2 norms in float64, the others in float32.)"""
    free = {"inner_clip": 50.0, "clip": 50.0, "inner_norm": 1e6}
    made = learner(backbone="gpt2", inner_lr=0.05, **free, **settings)
    made.base.policy.double()
    made.start.double()
    stages = [stage._replace(advantage=stage.advantage.double()) for stage in made._play()]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        gradients = torch.autograd.grad(
            made._after_adapting(stages, 0.1), list(made.start.values())
        )
        assert max(g.abs().max() for g in gradients) > 1e-4
        for key, gradient in zip(made.start, gradients, strict=True):
            direction = (
                Rows.of(key, torch.arange(1)).normal(gradient.numel()).double().view_as(gradient)
            )
            ends = []
            for side in (1e-6, -1e-6):
                made.start[key].data += side * direction
                ends.append(made._after_adapting(stages, 0.1).item())
                made.start[key].data -= side * direction
            slope = (ends[0] - ends[1]) / 2e-6
            assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-5, abs=1e-6)


def test_every_stage_counts_and_entropy_by_its_weight():
    """At the weights that played, surrogates are mean advantages: 0, once standardised; what is left is the bonus."""
    made = learner(Corridor(half=1), inner_lr=0.5)
    stages = made._play()
    assert made._after_adapting(stages, 0.0).item() == pytest.approx(0, abs=1e-5)
    adapters, means = made._initial().new(made.base.policy, Rows.of(0, torch.arange(3))), []
    for stage in stages:
        live = stage.buffer.live
        means.append(made._log_prob_and_entropy(adapters, stage.buffer)[1][live].mean().item())
        adapters = made._adapted(adapters, stage)
    assert len({round(mean, 4) for mean in means}) == 3
    assert made._after_adapting(stages, 0.5).item() == pytest.approx(0.5 * sum(means) / 3, abs=1e-5)


@pytest.mark.parametrize("scored", [0, 1, 2])
def test_each_stage_teaches_where_adapters_begin(scored):
    """A third of its surrogate's gradient, for one of three; without inner steps it can be told by hand."""
    made = learner(Corridor(half=1), inner_lr=1e-12)
    stages = [
        stage if k == scored else stage._replace(advantage=torch.zeros_like(stage.advantage))
        for k, stage in enumerate(made._play())
    ]
    start = list(made.start.values())
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        whole = torch.autograd.grad(made._after_adapting(stages, 0.0), start)
    buffer, adapters = (
        stages[scored].buffer,
        made._initial().new(made.base.policy, Rows.of(0, torch.arange(3))),
    )
    log_prob, _ = made._log_prob_and_entropy(adapters, buffer)
    weight = stages[scored].advantage[buffer.live]
    weight = (weight - weight.mean()) / weight.std(correction=0)
    plain = torch.autograd.grad((weight * log_prob[buffer.live]).mean(), start)
    for one, other in zip(whole, plain, strict=True):
        torch.testing.assert_close(3 * one, other, atol=1e-5, rtol=1e-3)
    assert max(one.abs().max() for one in whole) > 1e-4


def test_first_the_base_is_trained_and_then_where_adapters_begin():
    made = learner(pretraining=0.25)
    start, base = fingerprint(made.base.policy), {name: x.clone() for name, x in made.start.items()}
    assert made.update(0.0)["stage"] == 0
    trained = fingerprint(made.base.policy)
    assert trained != start
    assert all(torch.equal(x, base[name]) for name, x in made.start.items())
    assert made.env_steps == 80
    assert made.update(0.25)["stage"] == 1
    assert fingerprint(made.base.policy) == trained
    assert all(not torch.equal(x, base[name]) for name, x in made.start.items())
    assert made.env_steps == 80 + 3 * 3 * 2 * 10  # tasks x stages x episodes x steps
    assert made.grad_steps == 1 + 2


def test_its_state_is_whole():
    made, again = learner(pretraining=0.5), LoraMamlLearner(MDP, Config(**TINY), seed=1)
    made.update(0.0)
    made.update(0.6)
    again.load_state_dict(copy.deepcopy(made.state_dict()))
    for one in (made, again):
        one.seed = 0
        one.update(0.9)
    assert all(torch.equal(x, again.start[name]) for name, x in made.start.items())
    assert (made.env_steps, made.grad_steps, made.updates) == (
        again.env_steps,
        again.grad_steps,
        again.updates,
    )


@pytest.mark.parametrize("family", [MDP, Corridor(half=1)], ids=lambda f: f.name)
def test_a_step_at_test_is_the_step_that_training_looked_at(family):
    """On the same episodes, from the same start."""
    made = learner(family, inner_lr=2.0, inner_steps=2)
    agent, noise, trial = made.agent(), TrialNoise.of(0, torch.arange(3)), family.trial("id")
    tasks, memory = family.sample("id", torch.arange(3)), agent.start(Clues(), trial, noise.agent)
    for episode in range(2):
        memory, _ = play_episode(
            agent, family, tasks, memory, noise, episode=episode, horizon=trial.horizon
        )
    before, buffer = (
        tree.detached(tree.fork(memory.own)),
        TrialBuffer(*(part[:, :2].clone() for part in memory.buffer)),
    )
    after = agent.adapt(memory, noise.agent, episode=1, last=False).own
    advantage = episode_advantages(
        buffer.reward,
        spaces.features(buffer.obs, family.observation),
        buffer.live,
        gamma=0.99,
        lam=0.9,
        baseline="linear",
    )
    stage = Stage(buffer, made._log_prob_and_entropy(before, buffer)[0].detach(), advantage)
    in_training = made._adapted(before, stage)
    moved = 0.0
    for one, other, start in zip(
        tree.leaves(after), tree.leaves(in_training), tree.leaves(before), strict=True
    ):
        torch.testing.assert_close(one, other.detach(), atol=1e-6, rtol=1e-5)
        moved = max(moved, (one - start).abs().max().item())
    assert moved > 1e-6


def test_its_agent_keeps_the_contract_and_does_not_touch_the_start():
    made = learner(Corridor(), inner_steps=1)
    made.base.policy.double()
    made.start.double()
    before = {name: x.clone() for name, x in made.start.items()}
    agent = made.agent()
    for check in AGENT_CHECKS.values():
        check(agent, Corridor())
    assert agent.card.method == "lora_maml"
    assert all(torch.equal(x, before[name]) for name, x in made.start.items())


def test_what_cannot_be_differentiated_is_refused():
    with pytest.raises(UserError, match=r"plain inner steps\. Leave inner_rule out"):
        Config(inner_rule="adam")
    with pytest.raises(UserError, match="inner_stages"):
        Config(inner_stages=0)
