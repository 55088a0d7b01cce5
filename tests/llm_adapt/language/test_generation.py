import pytest
import torch

from bridge.rng import Rows
from llm_adapt.cache import extend
from llm_adapt.language.generation import generate, named_action
from llm_adapt.language.models import load
from llm_adapt.language.reading import new_cache, read
from llm_adapt.language.token_tree import Question, grow

LABELS = ("A", "B", "dax")


@pytest.mark.parametrize(
    ("answer", "action"),
    [
        ("B", 1),
        (" B\n", 1),
        ('"dax"', 2),
        ("A, reward 1", 0),
        ("**A**", 0),
        ("Arm A", None),
        ("Apple", None),
        ("b", None),
        ("", None),
        ("daxes", None),
    ],
)
def test_an_answer_names_an_action_by_beginning_with_its_label(answer, action):
    assert named_action(answer, LABELS) == action


@torch.no_grad()
def test_likeliest_tokens_are_those_of_transformers(tiny_model):
    model = load(str(tiny_model)).model
    prompts = [tuple(range(30, 40)), (50, 51, 52)]
    cache = new_cache(model, 2, 20)
    entry = read(model, grow([[Question(p, ((7,),))] for p in prompts]), cache).entry
    cache = extend(cache, entry, torch.tensor([4, 2]))
    options = {"end": None, "rng": None, "temperature": 1.0}
    found = generate(model, prompts, [4, 2], cache, most=5, **options)
    for prompt, answer in zip(prompts, found, strict=True):
        ids = prompt
        for token in answer:
            assert token == int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            ids += (token,)
        assert len(answer) == 5


def test_an_answer_stops_at_its_end(tiny_model):
    model = load(str(tiny_model)).model
    cache = new_cache(model, 1, 20)
    options = {"most": 6, "rng": None, "temperature": 1.0}
    (whole,) = generate(model, [(30, 31)], [0], cache, end=None, **options)
    (cut,) = generate(model, [(30, 31)], [0], cache, end=whole[3], **options)
    assert cut == whole[: whole.index(whole[3])]


def test_draws_are_named_and_follow_the_models_odds(tiny_model):
    model = load(str(tiny_model)).model
    prompts, rng = [(30, 31)] * 400, Rows.of("test", torch.arange(400))
    options = {"most": 1, "end": None, "rng": rng, "temperature": 1.0}
    one, other = (
        generate(model, prompts, [0] * 400, new_cache(model, 400, 4), **options) for _ in range(2)
    )
    assert one == other
    likely = model(input_ids=torch.tensor([[30, 31]])).logits[0, -1].softmax(-1)
    expected, token = likely.max(-1)
    share = sum(answer == (int(token),) for answer in one) / 400
    assert abs(share - float(expected)) < 4 * (float(expected) / 400) ** 0.5
