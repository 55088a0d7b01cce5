"""Prompt tuning (Lester et al. 2021, arXiv 2104.08691): vectors that a frozen policy reads before every trial.

They take the first positions and slide out of the window as tokens do. At play they are read into the cache once, at
the start of a trial; in training they come before its tokens. Both give the same outputs, to rounding, as does
``peft.PeftModel.from_pretrained(policy.backbone, folder)`` with the prompt in peft's files.

Shape letters: B trials, T tokens, D features of a token, V vectors, H width of the decoder.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import peft
import torch
from jaxtyping import Float
from peft.utils import set_peft_model_state_dict
from torch import Tensor, nn

from bridge.errors import UserError
from bridge.training.learner import seeded_init
from llm_adapt import adapter_files
from llm_adapt.attention import Past
from llm_adapt.base_policy import fingerprint
from llm_adapt.cache import Cache, extend
from llm_adapt.policy import TransformerPolicy


class SoftPrompted(TransformerPolicy):
    """A copy of a policy that reads V vectors first."""

    def __init__(self, policy: TransformerPolicy, prompt: Float[Tensor, "V H"]) -> None:
        """Copy ``policy``.

        Raises:
            UserError: there is no vector, or so many that the window has no room for anything else.
        """
        if not 1 <= len(prompt) < policy.config.window:
            raise UserError(
                f"A prompt needs 1 to {policy.config.window - 1} vectors here, fewer than the window has tokens; found "
                f"{len(prompt)}. Give another --rank."
            )
        config: Any = copy.deepcopy(policy.config)
        with seeded_init(0):  # initial weights are replaced at once
            super().__init__(config)
        self.to(policy.dtype).load_state_dict(policy.state_dict())
        self.prompt = nn.Parameter(prompt)

    def hidden(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T H"]:
        own = len(self.prompt)
        self._check_span(own + tokens.shape[1])
        return self._decode(torch.cat([self._prompts(len(tokens)), self._embedded(tokens)], 1))[
            :, own:
        ]

    @torch.no_grad()
    def new_cache(self, rows: int, span: int) -> Cache:
        """A cache that holds the prompt only."""
        own = len(self.prompt)
        cache = super().new_cache(rows, own + span)
        past = Past(cache)
        self._decode(self._prompts(rows), past)
        return extend(cache, past.entry, torch.full_like(cache.length, own))

    def _prompts(self, rows: int) -> Float[Tensor, "B V H"]:
        return self.prompt.expand(rows, -1, -1)


def new(policy: TransformerPolicy, count: int, *, seed: int) -> SoftPrompted:
    """A policy with ``count`` new vectors, normal with the standard deviation of the weights that embed a token."""
    with seeded_init(seed):
        drawn = torch.randn(count, policy.embed.out_features)
    return SoftPrompted(policy, (drawn * policy.embed.in_features**-0.5).to(policy.dtype))


def save(prompted: SoftPrompted, base: TransformerPolicy, folder: Path) -> None:
    """Write the prompt in peft's files."""
    config = peft.PromptTuningConfig(
        task_type="FEATURE_EXTRACTION", num_virtual_tokens=len(prompted.prompt)
    )
    with seeded_init(0):  # initial weights are replaced at once
        wrapped = peft.get_peft_model(copy.deepcopy(base.backbone), config)
    set_peft_model_state_dict(wrapped, {_NAME: prompted.prompt.detach()})
    wrapped.peft_config["default"].base_model_name_or_path = fingerprint(base)
    wrapped.save_pretrained(str(folder), save_embedding_layers=False)


def load(base: TransformerPolicy, folder: Path) -> SoftPrompted:
    """The policy with the prompt that ``save`` has written.

    Raises:
        UserError: there is none, or its vectors are not those of its config.
    """
    config, weights = adapter_files.read(folder)
    shape = (getattr(config, "num_virtual_tokens", 0), base.embed.out_features)
    if weights.keys() != {_NAME} or weights[_NAME].shape != shape:
        raise UserError(
            f"{folder} holds no prompt of {shape[0]} vectors of {shape[1]} numbers. Save it again."
        )
    return SoftPrompted(base, weights[_NAME].to(base.dtype))


_NAME = "prompt_embeddings"
"""Name of the vectors in peft's files."""
