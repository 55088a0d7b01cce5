"""Adapters in peft's files: read if every setting is computed here as in peft, otherwise refused by the setting's name.

An adapter is plain if its output is that of our base, changed only by the adapter's own weights. Many settings of peft
make adapters that are not: initialisations that also change the base (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA), other
formulas (DoRA, rsLoRA), updates that tokens switch on (aLoRA). Later versions will add more. So the settings that pass
are listed here, and all others must be off.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import peft
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bridge import files
from bridge.errors import UserError
from bridge.json_files import read_object
from llm_adapt.local_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, check_safetensors

_KINDS = {"LORA": peft.LoraConfig, "IA3": peft.IA3Config, "PROMPT_TUNING": peft.PromptTuningConfig}
_READ = {
    "LORA": {
        "r",
        "lora_alpha",
        "target_modules",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
    },
    "IA3": {"target_modules", "exclude_modules", "feedforward_modules"},
    "PROMPT_TUNING": {"num_virtual_tokens"},
}
"""Settings that define the computation."""
_ABOUT = {"peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode"}
_NOTES = {"peft_version", "auto_mapping", "runtime_config"}
_IDLE = {
    "LORA": {"lora_dropout", "fan_in_fan_out"},
    "IA3": {"fan_in_fan_out", "init_ia3_weights"},
    "PROMPT_TUNING": {
        "token_dim",
        "num_transformer_submodules",
        "num_attention_heads",
        "num_layers",
    },
}
"""Settings that change no output of a trained adapter, whatever their value."""
_INITIAL = {
    "LORA": {"megatron_core", "qalora_group_size", "eva_config"},
    "IA3": set(),
    "PROMPT_TUNING": {
        "prompt_tuning_init",
        "prompt_tuning_init_text",
        "tokenizer_name_or_path",
        "tokenizer_kwargs",
    },
}
"""Settings of the initialisation, which change no output either. peft does not get them: it could read other files."""
_PLAIN: dict[str, tuple[Any, ...]] = {
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
    "bias": ("none",),
}
"""Values that pass, of settings of which not all values do. These initialisations leave the base unchanged."""


def read(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """The settings of a plain adapter in a local folder, as peft's config, and its weights by name.

    Raises:
        UserError: there is none, it cannot be read, or one of its settings is not computed in the same way here.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"{str(folder)!r} holds no adapter of peft: it is no local folder with an {ADAPTER_CONFIG}. Give the "
            "folder in which the adapter was saved."
        )
    check_safetensors(folder, ADAPTER_WEIGHTS)
    files.verify(folder)
    settings = read_object(
        folder / ADAPTER_CONFIG, "Save the adapter again, or give another folder."
    )
    try:
        config, weights = _config(settings, folder), load_file(folder / ADAPTER_WEIGHTS)
    except UserError:
        raise
    except (OSError, ValueError, TypeError, OverflowError, SafetensorError) as error:
        raise UserError(
            f"{folder} holds no adapter of peft that can be read ({error}). Save it again, or give another folder."
        ) from error
    for name, value in weights.items():
        if not value.is_floating_point() or not value.isfinite().all():
            raise UserError(
                f"{folder} holds an adapter whose {name} is not of finite real numbers. Train or save it again."
            )
    return config, weights


def _config(settings: dict[str, Any], folder: Path) -> Any:
    """The settings as peft's config.

    Raises:
        UserError: the adapter is of a kind that is not read here, or not plain.
        ValueError: a setting is not of its type.
    """
    kind = settings.get("peft_type")
    if kind not in _KINDS:
        raise UserError(
            f"{folder} holds an adapter of kind {kind}; expected one of {', '.join(_KINDS)}. Train one of these."
        )
    for name in _ABOUT & settings.keys():
        if not isinstance(settings[name], str | bool | None):
            raise ValueError(f"{name} is {settings[name]!r}, expected text")
    read = _READ[kind] | _ABOUT | _IDLE[kind]
    others = settings.keys() - read - _NOTES - _INITIAL[kind]
    if odd := sorted(name for name in others if not _is_plain(name, settings[name])):
        listed = ", ".join(f"{name}={settings[name]!r}" for name in odd)
        raise UserError(
            f"{folder} holds an adapter with {listed}, which is not read here: its outputs would not be the same. "
            "Train one without."
        )
    known = read & {field.name for field in dataclasses.fields(_KINDS[kind])}
    return _KINDS[kind](**{name: value for name, value in settings.items() if name in known})


def _is_plain(name: str, value: Any) -> bool:
    """True if this value of a setting is known to change nothing: off, unless others are listed."""
    if name in _PLAIN:
        return value in _PLAIN[name]
    return value is None or value is False or (isinstance(value, dict | list | str) and not value)
