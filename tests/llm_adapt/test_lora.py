"""LoRA in a trial: which weights are a trial's own, and that the base is what it was."""

from typing import Any

import pytest
import torch

from bridge import memory as tree
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Card, Clues
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.test_time.weights import Combined
from bridge.training.learner import seeded_init
from experiments.registry import LEARNERS
from llm_adapt import icl_rl
from llm_adapt.base_policy import fingerprint
from llm_adapt.in_context import InContext
from llm_adapt.lora import Config, LoraLearner, lora, with_base
from llm_adapt.low_rank import Adapters
from llm_adapt.policy import build

BANDIT = make_family("bandit:k=3,n=8")
TINY: dict[str, Any] = {
    "hidden": 16,
    "layers": 1,
    "heads": 2,
    "window": 32,
    "steps_per_update": 80,
    "minibatches": 1,
}


def base(backbone: str = "llama") -> InContext:
    with seeded_init(0):
        policy = build(
            backbone,
            BANDIT.observation,
            BANDIT.action,
            hidden=16,
            layers=2,
            heads=2,
            window=32,
            positions=32,
        )
        torch.nn.init.normal_(policy.actor.weight, std=0.3)
    return InContext(policy.eval(), Card(method="icl", params_total=7))


def tuned_in_a_trial(config: Config, rows: int = 4) -> tuple[Any, Any]:
    agent = lora(base(), config, "reward")
    ids, trial = torch.arange(rows), BANDIT.trial("id")
    noise, tasks = TrialNoise.of(0, ids), BANDIT.sample("id", ids)
    memory = agent.start(Clues(), trial, noise.agent)
    for episode in range(5):
        memory, _ = play_episode(agent, BANDIT, tasks, memory, noise, episode=episode, horizon=1)
        memory = agent.adapt(memory, noise.agent.at(episode, "adapt"), episode=episode, last=False)
    return agent, memory


@pytest.mark.parametrize("backbone", ["llama", "gpt2"])
def test_adapters_that_were_not_moved_leave_play_bitwise_as_it_is(backbone):
    plan, agent = Plan(trials=50), base(backbone)
    played = evaluate(lora(agent, Config(inner_steps=0, rank=4), "reward"), BANDIT, plan)
    assert (
        played.total["trial_return"] == evaluate(agent, BANDIT, plan).total["trial_return"]
    ).all()


def test_adapters_move_apart_and_the_base_keeps_its_weights():
    before = fingerprint(base().policy)
    agent, memory = tuned_in_a_trial(Config(rank=2, inner_steps=3, inner_every=4))
    assert isinstance(memory.own, Adapters)
    assert all(down.shape[1:] == (2, 16) for down in memory.own.down.values())
    ups = torch.cat([up.flatten(1) for up in memory.own.up.values()], 1)
    assert (ups.abs().amax(1) > 1e-4).any()
    assert len({tuple(row.tolist()) for row in ups}) > 1
    assert fingerprint(agent.agent.policy) == before


def test_the_input_embedding_can_be_a_trials_own_too():
    config = Config(rank=2, inner_steps=3, inner_every=4, embedding=True)
    agent, memory = tuned_in_a_trial(config)
    assert isinstance(agent.trial_weights, Combined)
    weights = base().policy.embed.weight
    assert ((memory.own[1]["embed.weight"] - weights).abs().flatten(1).amax(1) > 1e-4).any()
    plain = lora(base(), Config(rank=2), "reward").card
    with_embedding = lora(base(), config, "reward").card
    assert plain.method == "lora_reward_icl"
    assert (plain.params_total, plain.params_trained) == (7, 2 * 2 * (2 * 16 + 2 * 16))
    assert with_embedding.params_trained - plain.params_trained == sum(
        p.numel() for p in base().policy.embed.parameters()
    )


def test_what_cannot_be_adapted_is_refused_before_anything_is_trained():
    for settings, said in (
        ({"targets": "query"}, "no module 'query'"),
        ({"rank": 17}, "Choose one from 1 to 16"),
    ):
        with pytest.raises(UserError, match=said):
            lora(base(), Config(**settings), "reward")
        config = with_base(icl_rl.Config)(**(TINY | settings))
        with pytest.raises(UserError, match=said):
            LoraLearner(BANDIT, config, seed=0, base=icl_rl.IclRlLearner, signal="reward")
    with pytest.raises(UserError, match="rank must be 1 or more"):
        Config(rank=0)


def test_its_learner_is_the_bases_learner():
    """Bitwise: the same weights after the same updates, and the same state in both directions."""
    config = with_base(icl_rl.Config)(**TINY, rank=2)
    made = LoraLearner(BANDIT, config, seed=3, base=icl_rl.IclRlLearner, signal="demos")
    plain = icl_rl.IclRlLearner(BANDIT, icl_rl.Config(**TINY), seed=3)
    for learner in (made, plain):
        learner.update(0.0)
        learner.update(0.5)
    assert (made.env_steps, made.grad_steps) == (plain.env_steps, plain.grad_steps)
    agent: Any = made.agent()
    assert fingerprint(agent.agent.policy) == fingerprint(plain.policy)
    assert agent.card.method == "lora_demos_icl_rl"
    assert agent.signal == "demos"
    again = LoraLearner(BANDIT, config, seed=4, base=icl_rl.IclRlLearner, signal="demos")
    again.load_state_dict(made.state_dict())
    assert fingerprint(again.agent().agent.policy) == fingerprint(plain.policy)


def test_a_configuration_holds_that_of_the_base_and_checks_both():
    for name, learned in LEARNERS.items():
        if name.startswith("lora_") and name != "lora_maml":
            assert learned.config().inner_steps == Config().inner_steps
            with pytest.raises(UserError, match=r"\blr above 0"):
                learned.config(lr=0.0)
            with pytest.raises(UserError, match="inner_lr above 0"):
                learned.config(inner_lr=0.0)


def test_forks_of_adapters_go_their_own_ways():
    agent, memory = tuned_in_a_trial(Config(rank=2, inner_steps=2, inner_every=4))
    fork = tree.fork(memory)
    moved = agent.adapt(fork, Rows.of(0, torch.arange(4)), episode=4, last=True)
    pairs = zip(tree.leaves(moved.own), tree.leaves(memory.own), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)
    assert memory.grad_steps.tolist() == [2] * 4
    assert moved.grad_steps.tolist() == [4] * 4
