"""The packaged model itself: whole labels, padding, batches and the cache, in float32 to 1e-4."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Clues, Trial
from bridge.tasks import family as make_family
from llm_adapt.language import packaged
from llm_adapt.language.models import load
from llm_adapt.prompted import SmolLm2
from llm_adapt.prompts.formats import FORMATS

pytestmark = [pytest.mark.slow, pytest.mark.llm]

BANDIT = make_family("bandit:k=5,n=12")


@pytest.fixture(scope="module")
def plain():
    """The model with an attention function of transformers, as a second implementation."""
    folder = packaged.folder("smollm2")
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()


def whole(plain, prompt, label):
    """The sum of the log-probabilities of a label's tokens, alone, without a cache."""
    log_prob = plain(input_ids=torch.tensor([prompt + label])).logits[0].log_softmax(-1)
    return sum(log_prob[len(prompt) - 1 + i, token] for i, token in enumerate(label))


@torch.no_grad()
@pytest.mark.parametrize("format", ["log", "digits", "colours", "summary", "dialogue"])
def test_scores_are_whole_labels_whatever_padding_batch_and_cache(plain, format):
    """Rows play on with a cache, at lengths of their own; each score equals that of its row alone."""
    agent = SmolLm2(format=format).agent(BANDIT, "prompted")
    rows = torch.arange(3)
    tasks, noise = BANDIT.sample("id", rows), TrialNoise.of("test", rows)
    memory, trial = agent.start(Clues(), Trial(12, 1), noise.agent), Trial(12, 1)
    for episode in range(6):
        memory, _ = play_episode(agent, BANDIT, tasks, memory, noise, episode=episode, horizon=1)
    memory = agent.begin(memory, noise.agent, episode=6)
    obs = torch.zeros(3, dtype=torch.int64)
    scores = agent.act(memory, obs, noise.agent, explore=False).logits
    prompts = agent.prompter.prompts(memory.buffer, memory.episode, obs)
    assert agent.prompter.longest(trial) >= max(map(len, prompts))
    for row, prompt in enumerate(prompts):
        expected = torch.stack([whole(plain, prompt, label) for label in agent.prompter.labels])
        torch.testing.assert_close(scores[row], expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("format", ["digits", "letters", "invented"])
def test_no_two_arms_score_alike(format):
    agent = SmolLm2(format=format).agent(BANDIT, "prompted")
    rng = TrialNoise.of("test", torch.arange(1)).agent
    memory = agent.start(Clues(), Trial(12, 1), rng)
    scores = agent.act(memory, torch.zeros(1, dtype=torch.int64), rng, explore=False).logits[0]
    gaps = (scores[:, None] - scores)[~torch.eye(5, dtype=torch.bool)]
    assert gaps.abs().min() > 1e-3


def test_digits_share_their_first_token():
    """Why labels are scored whole."""
    language = load("smollm2")
    one, two = language.encode(" 1"), language.encode(" 2")
    assert one[0] == two[0]
    assert one != two


@pytest.mark.parametrize("format", FORMATS)
def test_a_prompt_and_its_label_are_tokens_of_their_own(format):
    """The tokens of a label are those that it has after the prompt, and steps add tokens without changing any."""
    agent = SmolLm2(format=format).agent(BANDIT, "prompted")
    prompter, trial = agent.prompter, Trial(12, 1)
    messages = prompter.renderer.write([[]], (), trial)
    prompt = prompter.encode(messages)
    text = prompter.language.tokenizer.decode(prompt)
    for label, tokens in zip(prompter.renderer.answer, prompter.labels, strict=True):
        assert prompter.language.encode(text + label) == prompt + tokens
