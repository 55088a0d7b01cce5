"""The scores of labels after prompts: log-probabilities of whole labels, from one pass over trees of tokens.

    score(label) = sum over its tokens of log p(token | prompt, tokens of the label before it)

Labels of several tokens are scored whole: if only their first tokens were compared, " 1" and " 2" would be equal by
construction, since a tokenizer may write both with the same first token.

Shape letters: B rows, N nodes of a tree, Q nodes after which a token is predicted, S prompts, A labels, C cached
tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel

from bridge.errors import ContractError
from llm_adapt.attention import Past
from llm_adapt.backbones import keys_shape
from llm_adapt.cache import Cache, Entry, held
from llm_adapt.language.token_tree import TokenTrees

Scores = Float[Tensor, "B S A"]
"""The log-probability of each label after each prompt, in nats, not normalised over labels."""


class Reading(NamedTuple):
    """The scores of labels, and the keys and values of the nodes of the trees, ``[B, G, N, E]`` for each layer."""

    scores: Scores
    entry: Entry


def new_cache(model: PreTrainedModel, rows: int, capacity: int) -> Cache:
    """An empty cache for at most ``capacity`` tokens of each row."""
    layers, heads, size = keys_shape(model.config)
    zeros = [
        torch.zeros(rows, heads, capacity, size, dtype=model.dtype, device=model.device)
        for _ in range(2 * layers)
    ]
    length = torch.zeros(rows, dtype=torch.int64, device=model.device)
    return Cache(tuple(zeros[:layers]), tuple(zeros[layers:]), length)


def read(model: PreTrainedModel, trees: TokenTrees, cache: Cache) -> Reading:
    """The scores of all labels, after the tokens in a cache. The cache does not change.

    Raises:
        ContractError: a row of the cache has lost its first tokens.
    """
    past = _past(cache)
    hidden = _hidden(model, trees, past)
    return Reading(_scores(model, trees, hidden), past.entry)


def next_token(model: PreTrainedModel, trees: TokenTrees, cache: Cache) -> Float[Tensor, "B V"]:
    """The logits of the token after the first of the nodes that predict, after the tokens in a cache.

    Raises:
        ContractError: as ``read``.
    """
    hidden = _hidden(model, trees, _past(cache))
    row = torch.arange(len(hidden), device=hidden.device)
    return model.get_output_embeddings()(hidden[row, trees.predicting[:, 0]]).float()


def _past(cache: Cache) -> Past:
    past = Past(cache)
    if past.longest > cache.capacity:
        raise ContractError(
            f"A cache of {cache.capacity} tokens was given {past.longest}. Make one for the longest prompt."
        )
    return past


def score(model: PreTrainedModel, trees: TokenTrees) -> Scores:
    """The scores of all labels without a cache; differentiable."""
    return _scores(model, trees, _hidden(model, trees, None))


def _hidden(model: PreTrainedModel, trees: TokenTrees, past: Past | None) -> Float[Tensor, "B N H"]:
    """The last hidden state at every node."""
    mask = trees.visible
    if past is not None:
        mask = torch.cat([_cached(past, len(mask), mask.shape[1]), mask], -1)
    return model.base_model(
        input_ids=trees.token,
        attention_mask=mask[:, None],
        position_ids=trees.depth,
        use_cache=False,
        past=past,
    ).last_hidden_state


def _cached(past: Past, rows: int, nodes: int) -> Bool[Tensor, "B N C"]:
    """True for the cached tokens that each node attends to: all of its row."""
    there = held(past.start, past.capacity)[:, : past.filled] >= 0
    return there[:, None].expand(rows, nodes, -1)


def _scores(model: PreTrainedModel, trees: TokenTrees, hidden: Float[Tensor, "B N H"]) -> Scores:
    row = torch.arange(len(hidden), device=hidden.device)[:, None]
    logits = model.get_output_embeddings()(hidden[row, trees.predicting]).float()
    total = logits.logsumexp(-1)
    row = row[:, :, None, None]
    each = logits[row, trees.place, trees.target] - total[row, trees.place]
    return torch.where(trees.used, each, 0.0).sum(-1)
