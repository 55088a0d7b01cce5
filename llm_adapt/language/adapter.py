"""A language model with one adapter of peft's, which alone is trained and saved; the base is a copy that never changes.

The state has the base's fingerprint: peft adds an adapter to any base of the same shape, where it means nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import peft
import torch
from torch import Tensor, nn

from bridge.errors import UserError
from llm_adapt.base_policy import quiet
from llm_adapt.language.models import LanguageModel
from llm_adapt.low_rank import batched

_BASE = "base"


class Adapted:
    """A copy of a language model with a LoRA adapter that changes nothing yet.

    Args:
        language: the model.
        rank: r.
        alpha: scale of the update, times r.
        targets: names of adapted modules, joined by +; empty: queries and values of attention.

    Raises:
        UserError: the model has no such module, or the rank does not fit it.
    """

    def __init__(self, language: LanguageModel, *, rank: int, alpha: int, targets: str) -> None:
        config = batched(language.model, rank=rank, alpha=alpha, targets=targets).in_peft(
            language.model
        )
        self._base = torch.tensor(
            list(bytes.fromhex(language.fingerprint.split()[-1])), dtype=torch.uint8
        )
        with quiet():
            self.wrapped = peft.get_peft_model(copy.deepcopy(language.model), config)
        model: Any = self.wrapped.get_base_model()
        self.language = replace(language, model=model)
        """The model with the adapter beside its weights."""

    def merged(self) -> LanguageModel:
        """A copy of the model as it is now, with the adapter added to its weights."""
        with quiet():
            model: Any = copy.deepcopy(self.wrapped).merge_and_unload()
        return replace(self.language, model=model.eval().requires_grad_(False))

    def to(self, device: torch.device | str) -> Adapted:
        """This, on a device."""
        self.wrapped.to(device)
        return self

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights of the adapter."""
        return (weights for weights in self.wrapped.parameters() if weights.requires_grad)

    def state_dict(self) -> dict[str, Tensor]:
        """The weights of the adapter by peft's names, and the fingerprint of the base."""
        weights = peft.get_peft_model_state_dict(self.wrapped, save_embedding_layers=False)
        return {**weights, _BASE: self._base}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a ``state_dict``.

        Raises:
            UserError: it is of an adapter of another base.
        """
        if not torch.equal(state[_BASE].cpu(), self._base):
            raise UserError(
                f"The adapter was trained on other weights than those of {self.language.name}. Give the model that it "
                "was trained on."
            )
        weights = {name: value for name, value in state.items() if name != _BASE}
        peft.set_peft_model_state_dict(self.wrapped, weights)
