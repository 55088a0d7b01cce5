import dataclasses

import pytest
import torch
from transformers import AutoModelForCausalLM

from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Clues, Trial
from bridge.tasks import family as make_family
from llm_adapt.backbones import BACKBONES
from llm_adapt.prompted import Config
from llm_adapt.prompts.formats import FORMATS
from tests import tiny_language_model

BANDIT = make_family("bandit:k=3,n=4")


def prompted(tiny_model, family=BANDIT, **settings):
    return Config(model=str(tiny_model), **settings).agent(family, "prompted")


@pytest.mark.parametrize("rule", AGENT_CHECKS)
@pytest.mark.parametrize("format", ["log", "question_summary"])
def test_keeps_the_contract(tiny_model, rule, format):
    AGENT_CHECKS[rule](prompted(tiny_model, format=format), BANDIT, "id", tolerance=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rule", AGENT_CHECKS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_keeps_the_contract(tiny_model, rule, format):
    AGENT_CHECKS[rule](prompted(tiny_model, format=format), BANDIT, "id", tolerance=1e-4)


def test_the_cache_of_a_format_that_appends_is_never_recomputed(tiny_model):
    agent = prompted(tiny_model, format="log")
    read = lengths(agent)
    assert all(known == length for known, length in read[1:])


def test_a_format_that_rewrites_keeps_what_its_prompts_share(tiny_model):
    agent = prompted(tiny_model, format="summary")
    preamble = len(agent.prompter.encode(agent.prompter.renderer.write([[]], (), Trial(4, 1)))) // 2
    read = lengths(agent)
    assert all(preamble < known < length for known, length in read[1:])


def lengths(agent):
    """Of each step: tokens that were cached before and used, and all tokens that were cached before."""
    rows = torch.arange(3)
    tasks, noise = BANDIT.sample("id", rows), TrialNoise.of("test", rows)
    memory, found = agent.start(Clues(), Trial(4, 1), noise.agent), []
    act = agent.act

    def watched(memory, obs, rng, *, explore):
        decision = act(memory, obs, rng, explore=explore)
        known, before = decision.carry.known.tolist(), memory.cache.length.tolist()
        found.extend(zip(known, before, strict=True))
        return decision

    agent.act = watched
    for episode in range(4):
        memory, _ = play_episode(agent, BANDIT, tasks, memory, noise, episode=episode, horizon=1)
    return found[2:]


def test_decisions_are_drawn_from_the_scores_of_whole_labels(tiny_model):
    agent = prompted(tiny_model, format="digits")
    rng = TrialNoise.of("test", torch.arange(2)).agent
    memory = agent.start(Clues(), Trial(4, 1), rng)
    decision = agent.act(memory, torch.zeros(2, dtype=torch.int64), rng, explore=False)
    assert all(len(label) == 2 for label in agent.prompter.labels)
    (prompt,) = set(agent.prompter.prompts(memory.buffer, memory.episode, torch.zeros(2)))
    logits = agent.network(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    first = logits[agent.prompter.labels[0][0]]
    assert len(set(decision.logits[0].tolist())) == 3
    assert (decision.logits[0] < first).all()
    assert decision.action.tolist() == decision.logits.argmax(-1).tolist()


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_decoder_of_every_kind_scores_as_transformers_does(tmp_path, kind):
    """After some cached pulls, a score is the sum that transformers' own attention gives for the whole text."""
    folder = tiny_language_model.save(tmp_path, kind=kind)
    agent = prompted(folder, format="digits")
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()
    rows = torch.arange(2)
    tasks, noise = BANDIT.sample("id", rows), TrialNoise.of("test", rows)
    memory, obs = agent.start(Clues(), Trial(4, 1), noise.agent), torch.zeros(2, dtype=torch.int64)
    for episode in range(3):
        memory, _ = play_episode(agent, BANDIT, tasks, memory, noise, episode=episode, horizon=1)
    memory = agent.begin(memory, noise.agent, episode=3)
    decision = agent.act(memory, obs, noise.agent, explore=False)
    prompts = agent.prompter.prompts(memory.buffer, memory.episode, obs)
    assert prompts[0] != prompts[1]
    assert (decision.carry.known > 0).all()
    for row, prompt in enumerate(prompts):
        for arm, label in enumerate(agent.prompter.labels):
            with torch.no_grad():
                logits = plain(input_ids=torch.tensor([prompt + label])).logits[0].log_softmax(-1)
            score = sum(logits[len(prompt) - 1 + i, token] for i, token in enumerate(label))
            torch.testing.assert_close(decision.logits[row, arm], score, atol=1e-4, rtol=0)


@pytest.mark.parametrize("spec", ["gridnavi:episodes=2", "tabular_mdp:n=2"])
def test_walks_are_played(tiny_model, spec):
    family = make_family(spec)
    agent = prompted(tiny_model, family, format="terse")
    result = evaluate(agent, family, Plan(split="id", trials=3))
    trial = family.trial("id")
    assert len(result.detail["action"]) == 3 * trial.episodes * trial.horizon
    assert set(result.detail["action"]) <= set(range(5))
    rewards = result.detail["reward"].reshape(-1)
    assert result.mean("trial_return") == pytest.approx(rewards.sum() / 3, rel=1e-4)


def test_longer_rewards_than_usual_find_room(tiny_model):
    family = make_family("tabular_mdp:n=3")
    agent = prompted(tiny_model, family, format="decimals")
    agent.prompter.longest = lambda trial: 40
    evaluate(agent, family, Plan(split="id", trials=2))


def test_a_prompt_longer_than_the_context_is_refused_before_play(tiny_model):
    family = make_family("bandit:k=3,n=1000")
    with pytest.raises(
        UserError, match=r"1000 x 1 steps .* needs a prompt of about [\d,]+ tokens .* reads 2,048"
    ):
        evaluate(prompted(tiny_model, family), family, Plan(split="id", trials=2))


def test_labels_that_begin_alike_as_tokens_are_refused(tiny_model, monkeypatch):
    from llm_adapt.prompts import words

    monkeypatch.setitem(words._WORDS, "letters", ["1", "12", "B"])
    with pytest.raises(UserError, match=r"' 12' as tokens .* begin with those of ' 1'"):
        prompted(tiny_model)


def test_a_model_is_needed():
    with pytest.raises(UserError, match="model=smollm2"):
        Config()


def test_gradients_flow_to_the_scores_of_a_trial(tiny_model):
    """``policy_outputs`` equals what ``act`` decided by."""
    agent = prompted(tiny_model)
    rows = torch.arange(2)
    tasks, noise = BANDIT.sample("id", rows), TrialNoise.of("test", rows)
    memory, logits = agent.start(Clues(), Trial(4, 1), noise.agent), []
    act = agent.act

    def watched(memory, obs, rng, *, explore):
        decision = act(memory, obs, rng, explore=explore)
        logits.append(decision.logits)
        return decision

    agent.act = watched
    for episode in range(4):
        memory, _ = play_episode(agent, BANDIT, tasks, memory, noise, episode=episode, horizon=1)
    expected = torch.stack(logits, 1)
    outputs = agent.policy_outputs(memory, memory.buffer)
    torch.testing.assert_close(outputs[:, :, 0].detach(), expected, atol=1e-5, rtol=0)
    half = agent.policy_outputs(
        memory, memory.buffer.first(2)
    )  # as gradient steps within a trial do
    torch.testing.assert_close(half[:, :, 0].detach(), expected[:, :2], atol=1e-5, rtol=0)


def test_the_decoding_rule_is_the_cards(tiny_model):
    agent = prompted(tiny_model)
    agent.card = dataclasses.replace(agent.card, decode_rule="argmax")
    rng = TrialNoise.of("test", torch.arange(50)).agent
    memory = agent.start(Clues(), Trial(4, 1), rng)
    decision = agent.act(memory, torch.zeros(50, dtype=torch.int64), rng, explore=True)
    assert len(decision.action.unique()) == 1


def test_answers_that_name_no_action_are_counted_and_play_at_random(tiny_model):
    """A model of random weights hardly ever writes a label."""
    agent = prompted(tiny_model, answer="generate")
    result = evaluate(agent, BANDIT, Plan(split="id", trials=30))
    assert result.cost["parse_fail"][-1] > 3.5
    played = torch.bincount(torch.from_numpy(result.detail["action"]), minlength=3) / 120
    assert (played > 0.2).all()


def test_written_answers_are_played(tiny_model, monkeypatch):
    agent = prompted(tiny_model, answer="generate")
    monkeypatch.setattr(
        "llm_adapt.prompted.generate", lambda *args, **_: [agent.prompter.labels[1]] * len(args[1])
    )
    result = evaluate(agent, BANDIT, Plan(split="id", trials=4))
    assert set(result.detail["action"]) == {1}
    assert result.cost["parse_fail"][-1] == 0


def test_a_written_answer_keeps_the_contract(tiny_model):
    agent = prompted(tiny_model, answer="generate")
    for rule in ("carry_is_a_cache", "rows_are_independent", "noise_is_named", "act_only_reads"):
        AGENT_CHECKS[rule](agent, BANDIT, "id")


def test_tokens_are_counted_once_with_a_format_that_appends(tiny_model):
    agent, rows = prompted(tiny_model), 5
    result = evaluate(agent, BANDIT, Plan(split="id", trials=rows))
    longest = agent.prompter.longest(Trial(4, 1))  # with rewards of five characters, and a label
    assert longest - 20 <= result.cost["tokens"][-1] <= longest
    rewritten = prompted(tiny_model, format="question_summary")
    assert evaluate(rewritten, BANDIT, Plan(split="id", trials=rows)).cost["tokens"][-1] > (
        1.5
        * len(rewritten.prompter.encode(rewritten.prompter.renderer.write([[]], (), Trial(4, 1))))
    )
