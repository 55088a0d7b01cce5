"""The causal decoders of policies: a new one of any size, or pretrained weights from a local folder.

The decoders listed here are transformers' own classes that pass ``past=`` on to the attention function. Their positions
are either rotary, so that only distances count, or learned, so that their number is limited. The embedding of words is
removed: a policy's tokens are not words.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from bridge.errors import UserError, unknown
from bridge.json_files import read_object
from llm_adapt.attention import ATTENTION
from llm_adapt.local_files import check_model

BACKBONES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
"""Types of decoders, by transformers' names."""
_LEARNED = ("gpt2",)
_FIXED_ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions whose frequencies do not depend on the length of the sequence."""
_REQUIRED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
_SIZES = (
    *_REQUIRED,
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "n_inner",
    "sliding_window",
)
_POSITIVE = (
    "rms_norm_eps",
    "layer_norm_epsilon",
    "rope_theta",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "beta_fast",
    "beta_slow",
)
_DROPOUT = ("attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop")


def new_config(
    name: str, *, hidden: int, layers: int, heads: int, positions: int
) -> PreTrainedConfig:
    """The config of a new decoder with ``layers`` layers of width ``hidden``, for at most ``positions`` tokens.

    Its feed-forward layers have about 8 x hidden² weights, gated or not. The standard deviation of new weights is 0.02
    at a width of 1,024, as in transformers, and grows as the square root of 1 / width: narrow decoders learn sooner so.

    Raises:
        UserError: an unknown type, or sizes that do not fit one another.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    sizes = {"hidden": hidden, "layers": layers, "heads": heads, "positions": positions}
    if min(sizes.values()) < 1:
        raise UserError(f"A backbone needs sizes of 1 or more; found {sizes}.")
    if hidden % heads or (name not in _LEARNED and hidden // heads % 2):
        even = "" if name in _LEARNED else " by an even number"
        raise UserError(
            f"hidden={hidden} does not divide by heads={heads}{even}: a head would have {hidden / heads:g} numbers. "
            f"Try hidden={2 * heads * max(1, round(hidden / heads / 2))}."
        )
    fields: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": positions,
        "initializer_range": min(0.5, 0.02 * (1024 / hidden) ** 0.5),
    }
    if name not in _LEARNED:
        fields |= {
            "num_key_value_heads": heads,
            "head_dim": hidden // heads,
            "sliding_window": None,
        }
        fields["intermediate_size"] = 8 * round(hidden / 3)
    config = CONFIG_MAPPING[name](**fields)
    _strip(config)
    return config


def load(folder: str | Path) -> tuple[PreTrainedConfig, dict[str, Tensor]]:
    """The config and the weights, in float32, of the decoder in a folder that ``save_pretrained`` has written.

    Only JSON and safetensors are read, and no code.

    Raises:
        UserError: it cannot be read, lacks weights, or is not a decoder for policies.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{str(folder)!r} is neither a new backbone ({', '.join(BACKBONES)}) nor a folder with a config.json. Name "
            "one of these, or a folder that save_pretrained has written."
        )
    again = "Save the model again with save_pretrained."
    kind = read_object(folder / "config.json", again).get("model_type")
    if kind not in BACKBONES:
        raise UserError(
            f"{folder} holds a model of type {kind!r}; a policy can use {', '.join(BACKBONES)}. Choose one of these."
        )
    check_model(folder)
    try:
        model, report = AutoModel.from_pretrained(
            folder,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # from any of the libraries involved
        raise UserError(f"{folder} cannot be read as a {kind} model: {error}") from error
    config, weights = model.config, _wordless(model).state_dict()
    if missing := sorted(weights.keys() & report["missing_keys"]):
        raise UserError(
            f"{folder} lacks {len(missing)} of the weights that its config.json requires, such as {missing[0]}. "
            f"{again}"
        )
    try:
        check(config)
    except UserError as error:
        raise UserError(f"{folder} cannot be used. {error}") from None
    config.name_or_path = ""  # a path on this machine, which would be saved with a policy
    _strip(config)
    return config, weights


def make(config: PreTrainedConfig) -> PreTrainedModel:
    """A decoder with new weights, without words and dropout; ``config`` is copied."""
    config = copy.deepcopy(config)
    _strip(config)
    return _wordless(AutoModel.from_config(config, attn_implementation=ATTENTION))


def read_config(fields: dict[str, Any]) -> PreTrainedConfig:
    """A decoder's config from its fields, as JSON has them.

    Raises:
        UserError: its type is unknown, or ``transformers`` refuses a field.
    """
    kind = fields.get("model_type")
    if kind not in BACKBONES:
        raise unknown("kind of decoder", str(kind), BACKBONES)
    for name in _SIZES:
        _check_size(kind, name, fields.get(name, 1))
    try:
        return CONFIG_MAPPING[kind](
            **{name: value for name, value in fields.items() if name != "model_type"}
        )
    except Exception as error:  # from any of the libraries involved
        raise UserError(f"These are not the fields of a {kind} decoder ({error}).") from error


def check(config: PreTrainedConfig) -> None:
    """Refuse a decoder that no policy can use.

    ``transformers`` checks some of this when a config is made, and nothing when a field is set later, as
    ``from_pretrained(FOLDER, field=value)`` does.

    Raises:
        UserError: the type is unknown, a size is not a whole number of 1 or more, heads do not divide, positions depend
            on the length of a sequence, or a setting is not a finite number. The field is named.
    """
    kind = config.model_type
    if kind not in BACKBONES:
        raise unknown("kind of decoder", str(kind), BACKBONES)
    for name in _SIZES:
        _check_size(kind, name, getattr(config, name, None))
    heads, (_, key_heads, size) = config.num_attention_heads, keys_shape(config)
    if config.hidden_size % heads:
        raise UserError(
            f"A {kind} decoder needs a hidden_size that {heads} heads divide; found {config.hidden_size}."
        )
    if heads % key_heads:
        raise UserError(
            f"A {kind} decoder needs num_key_value_heads that divide {heads}; found {key_heads}."
        )
    if kind not in _LEARNED and size % 2:
        raise UserError(
            f"Rotary positions need heads of an even size; found {size}. Change hidden_size or head_dim."
        )
    rotations = getattr(config, "rope_parameters", None) or {}
    rotation = rotations.get("rope_type", "default")
    if rotation not in _FIXED_ROTATIONS:
        raise UserError(
            f"It has {rotation!r} rotary positions, which depend on the length of a sequence, so that nothing could be "
            f"cached. Choose one of {', '.join(_FIXED_ROTATIONS)}."
        )
    numbers = vars(config) | rotations
    for name in _POSITIVE:
        value = numbers.get(name)
        if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
            raise UserError(
                f"A {kind} decoder needs {name} to be a finite number above 0; found {value!r}."
            )


def _check_size(kind: str, name: str, value: Any) -> None:
    """Refuse a size that is not a whole number of 1 or more; one that is not required may be None."""
    if (value is not None or name in _REQUIRED) and not (type(value) is int and value >= 1):
        raise UserError(
            f"A {kind} decoder needs {name} to be a whole number of 1 or more; found {value!r}."
        )


def reach(config: PreTrainedConfig) -> int:
    """The most tokens that a token can attend to, itself included."""
    sliding = getattr(config, "sliding_window", None)
    return min(config.max_position_embeddings, sliding or config.max_position_embeddings)


def last_position(config: PreTrainedConfig) -> int | None:
    """The last position of a token, counted from 0; None: positions are not limited."""
    return config.max_position_embeddings - 1 if config.model_type in _LEARNED else None


def keys_shape(config: PreTrainedConfig) -> tuple[int, int, int]:
    """Numbers of layers and of key-value heads, and the size of a head: the shape of a token's keys (and values)."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_hidden_layers, heads, size


def _wordless(model: PreTrainedModel) -> PreTrainedModel:
    """The model without its embedding of words, in place."""
    model.set_input_embeddings(nn.Identity())
    return model


def _strip(config: PreTrainedConfig) -> None:
    """Remove words, dropout (so that training and play are equal) and all outputs but the last layer's, in place."""
    config.vocab_size = 1
    config.bos_token_id = config.eos_token_id = config.pad_token_id = None
    config.output_hidden_states, config.output_attentions = False, False
    for name in _DROPOUT:
        if hasattr(config, name):
            setattr(config, name, 0.0)
