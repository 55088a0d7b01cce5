"""Answers that a language model writes token by token, and the action that an answer names.

Shape letters: B rows, V tokens of the vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from bridge.rng import Rows
from llm_adapt.cache import Cache
from llm_adapt.language.reading import next_token
from llm_adapt.language.token_tree import Ids, Question, grow


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Ids],
    known: Sequence[int],
    cache: Cache,
    *,
    most: int,
    end: int | None,
    rng: Rows | None,
    temperature: float,
) -> list[Ids]:
    """The tokens that a model writes after each prompt, up to ``most`` or to the token ``end``, which is left out.

    What a prompt and an answer share with the cache is not read again; the cache does not change.

    Args:
        model: the model.
        prompts: the prompt of each row.
        known: the number of first tokens of each prompt that the cache holds.
        cache: the cache.
        most: tokens of the longest answer.
        end: the token that ends an answer; None: none does.
        rng: noise of the draws; None: the likeliest token each time.
        temperature: of the draws; 0: the likeliest token each time.
    """
    answers: list[Ids] = [()] * len(prompts)
    start = torch.tensor(known, device=cache.length.device)
    done = [False] * len(prompts)
    for i in range(most):
        # with a label of one token, the last token of a sequence is the one that predicts
        rows = [[Question(p + a, ((0,),))] for p, a in zip(prompts, answers, strict=True)]
        trees = grow(rows, known).to(start.device)
        logits = next_token(model, trees, cache._replace(length=start))
        if rng is None or not temperature:
            chosen = logits.argmax(-1)
        else:
            chosen = rng.at("token", i).categorical((logits / temperature).softmax(-1))
        for row, token in enumerate(chosen.tolist()):
            done[row] |= token == end
            if not done[row]:
                answers[row] += (token,)
        if all(done):
            break
    return answers


def named_action(answer: str, labels: Sequence[str]) -> int | None:
    """The action whose label an answer begins with, as a whole word; None if it begins with none.

    Spaces and quotes before the label are passed over; case counts.
    """
    text = answer.lstrip(" \n\t\"'`*(")
    for action, label in enumerate(labels):
        if re.match(rf"{re.escape(label)}(?!\w)", text):
            return action
    return None
