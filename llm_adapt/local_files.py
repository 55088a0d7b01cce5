"""Checks of local folders: weights are read from safetensors only, so that nothing that is loaded can execute code.

The loaders of transformers and peft look for a name that is no folder on a model hub, and read pickles if there is
nothing else. So every folder is checked here before they get it.
"""

from __future__ import annotations

from pathlib import Path

from bridge.errors import UserError

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""An adapter's two files."""
WHOLE = "tuned"
"""The folder, in that of a fine-tuned policy, of a policy whose base weights were trained."""
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def is_tuned(folder: Path) -> bool:
    """True if a folder holds the learned weights of a fine-tuned policy: an adapter's, or a whole policy."""
    return (folder / ADAPTER_WEIGHTS).is_file() or (folder / WHOLE).is_dir()


def check_model(folder: Path) -> None:
    """Make sure that exactly a model's config and its safetensors would be read from a folder.

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
    """Make sure that a folder has safetensors whose names match ``pattern``.

    Raises:
        UserError: it has none; its files of other kinds are named.
    """
    if any(folder.glob(pattern)):
        return
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    found = ""
    if pickles:
        found = f" It has {', '.join(pickles)}, which is not read: such a file can execute code."
    raise UserError(
        f"{folder} has no {pattern}.{found} Load the weights where you trust them, and save them again with "
        "save_pretrained."
    )
