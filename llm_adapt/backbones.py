"""The causal decoders that a policy can stand on: a new one of any size, or pretrained weights from a local folder.

Those listed are transformers' own classes, which pass ``past=`` on to the attention function, and whose positions are
either rotary, so that only distances count, or learned, so that there are so many and no more. Their embedding of words
is taken out: a policy's tokens are no words.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from bridge.errors import UserError, unknown
from llm_adapt.attention import ATTENTION

BACKBONES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
"""By transformers' name of their type."""
_LEARNED = ("gpt2",)
_FIXED_ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions whose frequencies do not depend on how long a sequence has become."""
_DROPOUT = ("attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop")


def new_config(name: str, *, hidden: int, layers: int, heads: int, positions: int) -> PreTrainedConfig:
    """A decoder of ``layers`` layers that are ``hidden`` wide, for at most ``positions`` tokens at a time.

    Its feed-forward layers have about 8 x hidden² weights, gated or not. New weights have the spread of transformers,
    0.02, at a width of 1,024, and more the narrower they are (by the square root): they learn sooner so.
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
        "vocab_size": 1, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "max_position_embeddings": positions, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
        "initializer_range": min(0.5, 0.02 * (1024 / hidden) ** 0.5),
    }  # fmt: skip
    if name not in _LEARNED:
        fields |= {"num_key_value_heads": heads, "head_dim": hidden // heads, "sliding_window": None}
        fields["intermediate_size"] = 8 * round(hidden / 3)
    config = CONFIG_MAPPING[name](**fields)
    _silence(config)
    return config


def load(folder: str | Path) -> tuple[PreTrainedConfig, dict[str, Tensor]]:
    """The config and the weights, in float32, of the decoder in a folder that ``save_pretrained`` has written.

    Only JSON and safetensors are read, and no code.

    Raises:
        UserError: it cannot be read, lacks weights, or holds what no policy can stand on.
    """
    folder = Path(folder)
    kind = _kind(folder)
    if kind not in BACKBONES:
        raise UserError(f"{folder} holds a model of type {kind!r}; a policy can stand on {', '.join(BACKBONES)}.")
    if not list(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder} has no *.safetensors, and files of other kinds are not read, since they can execute code. "
            "Load the model where you trust it and save it again with save_pretrained."
        )
    try:
        model, report = AutoModel.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, local_files_only=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # of any of the libraries that take part
        raise UserError(f"{folder} cannot be read as a {kind} model: {error}") from error
    config, weights = model.config, _wordless(model).state_dict()
    if missing := sorted(weights.keys() & report["missing_keys"]):
        raise UserError(
            f"{folder} lacks {len(missing)} of the weights that its config.json speaks of, such as {missing[0]}. "
            "Save the model again with save_pretrained."
        )
    rotation = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rotation not in _FIXED_ROTATIONS:
        raise UserError(
            f"{folder} has {rotation!r} rotary positions, which change with the length of a sequence, so that nothing "
            f"could be cached. Those that can be used: {', '.join(_FIXED_ROTATIONS)}."
        )
    config.vocab_size, config.bos_token_id, config.eos_token_id, config.pad_token_id = 1, None, None, None
    config.name_or_path = ""  # saved with a policy, it would tell where this machine keeps its files
    _silence(config)
    return config, weights


def make(config: PreTrainedConfig) -> PreTrainedModel:
    """A decoder with new weights; it has a copy of the config."""
    return _wordless(AutoModel.from_config(copy.deepcopy(config), attn_implementation=ATTENTION))


def reach(config: PreTrainedConfig) -> int:
    """The most tokens that one may attend to, itself included."""
    sliding = getattr(config, "sliding_window", None)
    return min(config.max_position_embeddings, sliding or config.max_position_embeddings)


def last_position(config: PreTrainedConfig) -> int | None:
    """The last one that a token can have, counted from 0; None: there is none, since only distances count."""
    return config.max_position_embeddings - 1 if config.model_type in _LEARNED else None


def keys_shape(config: PreTrainedConfig) -> tuple[int, int, int]:
    """In how many layers a token leaves keys (and as many values), for how many heads, and of how many numbers."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_hidden_layers, heads, size


def _kind(folder: Path) -> str | None:
    """What kind of model a folder says that it holds."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except OSError as error:
        raise UserError(
            f"{str(folder)!r} is neither a new backbone ({', '.join(BACKBONES)}) nor a folder with a config.json. Name "
            "one of these, or a folder that save_pretrained has written."
        ) from error
    except (ValueError, AttributeError) as error:
        raise UserError(f"{folder}/config.json holds no JSON object: {error}") from error


def _wordless(model: PreTrainedModel) -> PreTrainedModel:
    model.set_input_embeddings(nn.Identity())
    return model


def _silence(config: PreTrainedConfig) -> None:
    """No dropout: what is trained is then what plays."""
    for name in _DROPOUT:
        if hasattr(config, name):
            setattr(config, name, 0.0)
