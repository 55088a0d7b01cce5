"""Prompt tuning (Lester et al. 2021, arXiv 2104.08691): vectors that a frozen policy reads before every trial.

They take the first positions and slide out of the window as tokens do. At play they are read into the cache once, where
a trial begins; in training they stand before its tokens. Both say the same, to rounding, and what
``peft.PeftModel.from_pretrained(policy.backbone, folder)`` says of a prompt in peft's files.

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


class Prompted(TransformerPolicy):
    """A copy of a policy that reads V vectors first."""

    def __init__(self, policy: TransformerPolicy, prompt: Float[Tensor, "V H"]) -> None:
        """Copy.

        Raises:
            UserError: no vector, or so many that the window would hold nothing else.
        """
        if not 1 <= len(prompt) < policy.config.window:
            raise UserError(
                f"A prompt is of 1 to {policy.config.window - 1} vectors here, fewer than the window has tokens; found "
                f"{len(prompt)}. Give another --rank."
            )
        config: Any = copy.deepcopy(policy.config)
        with seeded_init(0):  # replaced at once
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
        """A cache that holds the prompt alone."""
        own = len(self.prompt)
        cache = super().new_cache(rows, own + span)
        past = Past(cache)
        self._decode(self._prompts(rows), past)
        return extend(cache, past.entry, torch.full_like(cache.length, own))

    def _prompts(self, rows: int) -> Float[Tensor, "B V H"]:
        return self.prompt.expand(rows, -1, -1)


def new(policy: TransformerPolicy, count: int, *, seed: int) -> Prompted:
    """``count`` vectors, normal with the standard deviation of the weights that embed a token."""
    with seeded_init(seed):
        drawn = torch.randn(count, policy.embed.out_features)
    return Prompted(policy, (drawn * policy.embed.in_features**-0.5).to(policy.dtype))


def save(prompted: Prompted, base: TransformerPolicy, folder: Path) -> None:
    """The prompt in peft's files."""
    config = peft.PromptTuningConfig(
        task_type="FEATURE_EXTRACTION", num_virtual_tokens=len(prompted.prompt)
    )
    with seeded_init(0):  # replaced at once
        wrapped = peft.get_peft_model(copy.deepcopy(base.backbone), config)
    set_peft_model_state_dict(wrapped, {_NAME: prompted.prompt.detach()})
    wrapped.peft_config["default"].base_model_name_or_path = fingerprint(base)
    wrapped.save_pretrained(str(folder), save_embedding_layers=False)


def load(base: TransformerPolicy, folder: Path) -> Prompted:
    """The policy with the prompt that ``save`` has written.

    Raises:
        UserError: there is none, or one of other vectors than its config says.
    """
    config, weights = adapter_files.read(folder)
    shape = (getattr(config, "num_virtual_tokens", 0), base.embed.out_features)
    if weights.keys() != {_NAME} or weights[_NAME].shape != shape:
        raise UserError(
            f"{folder} holds no prompt of {shape[0]} vectors of {shape[1]} numbers. Save it again."
        )
    return Prompted(base, weights[_NAME].to(base.dtype))


_NAME = "prompt_embeddings"
"""In peft's files."""
