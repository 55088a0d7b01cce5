"""Vectors read before a trial: the same in training, at play, and in peft."""

import copy

import peft
import pytest
import torch

from bridge.conformance import AGENT_CHECKS
from bridge.errors import UserError
from bridge.protocol import Card
from bridge.rng import Rows
from bridge.tasks import family as make_family
from bridge.tasks.base import Discrete
from bridge.training.learner import seeded_init
from llm_adapt import soft_prompt
from llm_adapt.cache import write
from llm_adapt.in_context import InContext
from llm_adapt.policy import TransformerPolicy, build

STEPS, VECTORS = 9, 3


def policy(name: str = "llama", *, window: int = 16) -> TransformerPolicy:
    with seeded_init(0):
        made = build(
            name,
            Discrete(4),
            Discrete(3),
            hidden=16,
            layers=2,
            heads=2,
            window=window,
            positions=16,
        )
    return made.double().eval()


def tokens(made: TransformerPolicy) -> torch.Tensor:
    drawn = Rows.of("tokens", torch.arange(4)).normal(STEPS * made.layout.width)
    return drawn.view(4, STEPS, -1).to(made.dtype)


@pytest.mark.parametrize("window", [16, 5])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_read_a_token_at_a_time_it_says_what_it_says_of_whole_trials(name, window):
    """A window of 5 loses the prompt of 3 on the way; rows read as many tokens as they have lived."""
    prompted = soft_prompt.new(policy(name, window=window), VECTORS, seed=0)
    given, lived = tokens(prompted), torch.tensor([9, 9, 4, 7])
    cache, said = prompted.new_cache(len(given), STEPS), []
    for t in range(STEPS):
        reading = prompted.read(given[:, t], cache)
        said.append(reading.out)
        cache = write(cache, reading.entry, t < lived)
    whole = prompted(given).out
    for row, count in enumerate(lived):
        torch.testing.assert_close(
            torch.stack(said, 1)[row, :count], whole[row, :count], atol=1e-9, rtol=0
        )
    assert not torch.allclose(whole, policy(name, window=window)(given).out)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
@pytest.mark.filterwarnings("ignore")
def test_peft_reads_the_file_and_says_the_same(name, tmp_path):
    base = policy(name)
    prompted, given = soft_prompt.new(base, VECTORS, seed=0), tokens(base)
    soft_prompt.save(prompted, base, tmp_path)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base.backbone), str(tmp_path))
    hidden = theirs(inputs_embeds=base.embed(given), use_cache=False).last_hidden_state[:, VECTORS:]
    torch.testing.assert_close(prompted.hidden(given), hidden, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        soft_prompt.load(base, tmp_path).hidden(given), prompted.hidden(given), atol=0, rtol=0
    )


def test_gradients_reach_the_prompt_and_the_base_has_none_of_it():
    base = policy()
    prompted = soft_prompt.new(base, VECTORS, seed=0)
    prompted(tokens(base)).out.sum().backward()
    assert prompted.prompt.grad is not None
    assert prompted.prompt.grad.abs().min() > 0
    assert all(weights.grad is None for weights in base.parameters())


def test_an_agent_with_a_prompt_keeps_the_contract():
    family = make_family("bandit:k=3,n=6")
    with seeded_init(0):
        base = build(
            "llama", family.observation, family.action, hidden=16, layers=1, heads=2, window=6
        )
    for check in AGENT_CHECKS.values():
        check(InContext(soft_prompt.new(base, 2, seed=0), Card(method="prompted")), family)


@pytest.mark.parametrize("count", [0, 16])
def test_a_prompt_leaves_room_for_tokens(count):
    with pytest.raises(UserError, match=f"needs 1 to 15 vectors here.*found {count}"):
        soft_prompt.new(policy(), count, seed=0)
