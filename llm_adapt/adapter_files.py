"""Adapters in peft's files: read if every setting is one that is computed alike here, refused by name otherwise.

An adapter is plain if its output is that of the base that we hold, changed by the adapter's own weights alone. Many
settings of peft's say otherwise: an initialisation that takes something out of the base (PiSSA, OLoRA, CorDA, LoftQ,
LoRA-GA), another formula (DoRA, rsLoRA), an update that is switched on by tokens (aLoRA). Later versions will add more.
So the settings that pass are listed, and all others must be off.
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
"""Settings that say what is computed."""
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
"""Settings that change no output of a trained adapter, whatever they say."""
_FIRST_WEIGHTS = {
    "LORA": {"megatron_core", "qalora_group_size", "eva_config"},
    "IA3": set(),
    "PROMPT_TUNING": {
        "prompt_tuning_init",
        "prompt_tuning_init_text",
        "tokenizer_name_or_path",
        "tokenizer_kwargs",
    },
}
"""Likewise, and not to be given to peft, which may read other files for them or ask for more."""
_PLAIN: dict[str, tuple[Any, ...]] = {
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
    "bias": ("none",),
}
"""Values that pass, of settings with others that do not: initialisations after which the base is as it was."""


def read(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """The settings of a plain adapter in a local folder, as a config of peft's, and its weights by name.

    Raises:
        UserError: there is none, it cannot be read, or it has a setting that is not computed alike here.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"{str(folder)!r} holds no adapter of peft: it is no local folder with an {ADAPTER_CONFIG}. Give the "
            "folder that it was saved in."
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
    """Settings as peft has them.

    Raises:
        UserError: they are of a kind that is not read here, or not plain.
    """
    kind = settings.get("peft_type")
    if kind not in _KINDS:
        raise UserError(
            f"{folder} holds an adapter of kind {kind}; those that are read here: {', '.join(_KINDS)}."
        )
    for name in _ABOUT & settings.keys():
        if not isinstance(settings[name], str | bool | None):
            raise ValueError(f"{name} is {settings[name]!r}, where text is expected")
    given = _READ[kind] | _ABOUT | _IDLE[kind]
    rest = settings.keys() - given - _NOTES - _FIRST_WEIGHTS[kind]
    if odd := sorted(name for name in rest if not _plain(name, settings[name])):
        said = ", ".join(f"{name}={settings[name]!r}" for name in odd)
        raise UserError(
            f"{folder} holds an adapter with {said}, which is not read here: its outputs would not be the same. Make "
            "one without."
        )
    known = {field.name for field in dataclasses.fields(_KINDS[kind])}
    return _KINDS[kind](
        **{name: value for name, value in settings.items() if name in given & known}
    )


def _plain(name: str, value: Any) -> bool:
    """Whether a setting has a value that is known to change nothing: off, unless others are listed."""
    if name in _PLAIN:
        return value in _PLAIN[name]
    return value is None or value is False or (isinstance(value, dict | list | str) and not value)
