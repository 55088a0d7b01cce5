import pytest
import torch
from transformers import AutoModelForCausalLM

from llm_adapt.cache import extend
from llm_adapt.language.models import load
from llm_adapt.language.reading import new_cache, read, score
from llm_adapt.language.token_tree import Question, grow

LABELS = ((7,), (8, 9), (8, 10), (11, 12, 13))


@pytest.fixture(scope="module")
def model(tiny_model):
    return load(str(tiny_model)).model


@pytest.fixture(scope="module")
def plain(tiny_model):
    """The same model with an attention function of transformers, as a second implementation."""
    return AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="sdpa").eval()


def question(seed, length):
    prompt = torch.randint(20, 400, (length,), generator=torch.Generator().manual_seed(seed))
    return Question(tuple(prompt.tolist()), LABELS)


@torch.no_grad()
def one_by_one(plain, asked):
    """The sum of each label's log-probabilities, a sequence at a time, without a tree, a cache or padding."""
    scores = []
    for label in asked.labels:
        ids = torch.tensor([asked.prompt + label])
        log_prob = plain(input_ids=ids).logits[0].log_softmax(-1)
        first = len(asked.prompt) - 1
        scores.append(sum(log_prob[first + i, token] for i, token in enumerate(label)))
    return torch.stack(scores)


def test_scores_are_those_of_whole_labels_one_at_a_time(model, plain):
    first = question(0, 9)
    rows = [[first, Question((*first.prompt, 7, 30, 31), LABELS)], [question(1, 4)]]
    scores = score(model, grow(rows))
    for row, questions in enumerate(rows):
        for s, asked in enumerate(questions):
            torch.testing.assert_close(
                scores[row, s].detach(), one_by_one(plain, asked), atol=1e-5, rtol=0
            )


def test_labels_that_share_a_token_differ_by_the_next_one(model):
    scores = score(model, grow([[question(2, 5)]]))[0, 0]
    assert abs(float(scores[1] - scores[2])) > 1e-3


def test_a_cache_changes_no_score(model, plain):
    rows = [[question(0, 9)], [question(1, 4)]]
    cache = new_cache(model, 2, 30)
    reading = read(model, grow(rows), cache)
    cache = extend(cache, reading.entry, torch.tensor([9, 4]))
    longer = [
        [Question((*row[0].prompt, *range(40, 40 + more)), LABELS)]
        for row, more in zip(rows, (1, 12), strict=True)
    ]
    cached = read(model, grow(longer, known=[9, 4]), cache).scores
    for row, (asked,) in enumerate(longer):
        torch.testing.assert_close(cached[row, 0], one_by_one(plain, asked), atol=1e-5, rtol=0)


def test_part_of_a_cache_can_be_kept(model, plain):
    old = question(3, 12)
    cache = new_cache(model, 1, 30)
    cache = extend(cache, read(model, grow([[old]]), cache).entry, torch.tensor([12]))
    new = Question((*old.prompt[:5], 50, 51, 52), LABELS)
    kept = cache._replace(length=torch.tensor([5]))
    scores = read(model, grow([[new]], known=[5]), kept).scores
    torch.testing.assert_close(scores[0, 0], one_by_one(plain, new), atol=1e-5, rtol=0)


def test_more_new_tokens_than_attend_by_parts_change_nothing(model, plain):
    old, more = question(3, 12), tuple(range(100, 200))
    cache = new_cache(model, 1, 200)
    cache = extend(cache, read(model, grow([[old]]), cache).entry, torch.tensor([12]))
    new = Question(old.prompt + more, LABELS)
    scores = read(model, grow([[new]], known=[12]), cache).scores
    torch.testing.assert_close(scores[0, 0], one_by_one(plain, new), atol=1e-5, rtol=0)


def test_scores_are_differentiable_in_the_weights(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="metabridge")
    score(model, grow([[question(4, 6)]])).sum().backward()
    assert model.model.layers[0].self_attn.q_proj.weight.grad.abs().sum() > 0
