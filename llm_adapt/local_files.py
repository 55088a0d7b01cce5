"""Weights are read from local folders, and from safetensors alone: nothing that is loaded can execute code.

The loaders of transformers and peft take a name that is no folder for one on a model hub, and read pickles where there
is nothing else. So every folder is checked here before it is given to them.
"""

from __future__ import annotations

from pathlib import Path

from bridge.errors import UserError

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""An adapter's two files."""
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def check_model(folder: Path) -> None:
    """Refuse a folder from which more or less would be read than a model's config and its safetensors.

    Raises:
        UserError: it is no local folder with a config.json, it has no safetensors, or it is also an adapter's, for
            which transformers would read the base that the adapter names.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{str(folder)!r} is no local folder with a config.json.")
    if (folder / ADAPTER_CONFIG).exists():
        raise UserError(
            f"{folder} holds a model and an adapter ({ADAPTER_CONFIG}). Move one of them elsewhere."
        )
    check_safetensors(folder, "*.safetensors")


def check_safetensors(folder: Path, pattern: str) -> None:
    """Refuse a folder without the safetensors that are looked for.

    Raises:
        UserError: it has none; files of other kinds that it has are named.
    """
    if not any(folder.glob(pattern)):
        others = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
        found = (
            f" It has {', '.join(others)}, which is not read: such a file can execute code."
            if others
            else ""
        )
        raise UserError(
            f"{folder} has no {pattern}.{found} Load the weights where you trust them, and save them again with "
            "save_pretrained."
        )
