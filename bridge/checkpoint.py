"""A learner's state as one safetensors file: tensors as tensors, everything else as JSON in the header.

Nothing that is loaded can execute code, and a file is whole or absent. A checkpoint is named by the environment steps
it was taken at; a damaged one is passed over for the one before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bridge.files import write_whole

_KEEP = 2
"""Checkpoints kept: the last one, and one before it in case the last is damaged."""


def pack(state: Any, name: str = "state") -> tuple[Any, dict[str, Tensor]]:
    """A JSON skeleton of ``state`` in which each tensor is a name, and the tensors by name."""
    if isinstance(state, Tensor):
        return {"tensor": name}, {name: state.detach().cpu().contiguous()}
    if isinstance(state, dict):
        parts = {key: pack(value, f"{name}.{key}") for key, value in state.items()}
        keys = [[key, part[0]] for key, part in parts.items()]  # a list keeps integer keys integers
        return {"dict": keys}, {n: t for _, tensors in parts.values() for n, t in tensors.items()}
    if isinstance(state, list | tuple):
        parts = [pack(value, f"{name}.{i}") for i, value in enumerate(state)]
        return {"list": [p[0] for p in parts]}, {n: t for _, tensors in parts for n, t in tensors.items()}
    return {"value": state}, {}


def unpack(skeleton: Any, tensors: dict[str, Tensor]) -> Any:
    """The state that ``pack`` took apart (tuples come back as lists)."""
    ((kind, content),) = skeleton.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: unpack(value, tensors) for key, value in content}
    if kind == "list":
        return [unpack(value, tensors) for value in content]
    return content


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path``, whole or not at all."""
    skeleton, tensors = pack(state)
    write_whole(path, lambda temporary: save_file(tensors, temporary, {"state": json.dumps(skeleton)}))


def load(path: Path) -> dict[str, Any]:
    """Read what ``save`` wrote.

    Raises:
        OSError, SafetensorError, ValueError: the file is absent or damaged.
    """
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return unpack(json.loads(file.metadata()["state"]), tensors)


def save_step(folder: Path, env_steps: int, state: dict[str, Any]) -> None:
    """Write the checkpoint at ``env_steps`` and remove those that are no longer needed."""
    save(folder / f"{env_steps:015d}.safetensors", state)
    for old in sorted(folder.glob("*.safetensors"))[:-_KEEP]:
        old.unlink()


def load_last(folder: Path, tell: Callable[[str], None]) -> dict[str, Any] | None:
    """The last checkpoint that can be read, None where there is none; ``tell`` hears of every damaged one."""
    paths = sorted(folder.glob("*.safetensors"))
    while paths:
        path = paths.pop()
        try:
            return load(path)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            instead = "going on from the checkpoint before it" if paths else "there is none before it"
            tell(f"{path} is damaged ({error}); {instead}.")
    return None
