"""A learner's state as one safetensors file: tensors as tensors, everything else as JSON in the header.

Nothing that is loaded can execute code, and a file is whole or absent. The header holds a checksum of the content, so
that a flipped bit is found when the file is read. A checkpoint is named by its number of environment steps; if it is
damaged, the one before it is read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bridge.digest import raw_bytes
from bridge.errors import UserError
from bridge.files import Tell, check_readable, reading, write_whole

_KEEP = 2
"""Checkpoints that are kept: the last one, and one before it in case the last is damaged."""
_NAME = re.compile(r"\d{15}\.safetensors")
"""Name of a checkpoint. Other files in the folder are the user's own."""


def pack(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """A JSON skeleton of ``state`` in which each tensor is a name, and the tensors by name."""
    tensors: dict[str, Tensor] = {}

    def skeleton(part: Any, name: str) -> dict[str, Any]:
        if isinstance(part, Tensor):
            tensors[name] = part.detach().cpu().contiguous()
            return {"tensor": name}
        if isinstance(part, dict):  # as a list of pairs, which keeps integer keys integers
            return {"dict": [[key, skeleton(x, f"{name}.{key}")] for key, x in part.items()]}
        if isinstance(part, list | tuple):
            return {"list": [skeleton(x, f"{name}.{i}") for i, x in enumerate(part)]}
        return {"value": part}

    return skeleton(state, "state"), tensors


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


class DamagedError(UserError):
    """A file whose content is not what was written."""


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` to ``path``, whole or not at all.

    Raises:
        StorageError: as ``bridge.files.write_whole``.
    """
    skeleton, tensors = pack(dict(state))
    header = {"state": skeleton, "sha256": _checksum(skeleton, tensors)}
    write_whole(
        path, lambda temporary: save_file(tensors, temporary, {"state": json.dumps(header)})
    )


def load(path: Path) -> dict[str, Any]:
    """Read what ``save`` wrote.

    Raises:
        DamagedError: the file is not whole, or a part of it has changed.
        UserError: it is absent, or may not be read.
    """
    check_readable(path)  # safetensors raises the same error for every fault
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            header = json.loads(file.metadata()["state"])
        if header.keys() != {"state", "sha256"} or header["sha256"] != _checksum(
            header["state"], tensors
        ):
            raise ValueError("its content is not that of its checksum")
        return unpack(header["state"], tensors)
    except (
        OSError,
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise DamagedError(f"{path} is damaged ({error})") from error


def holds(path: Path, state: Mapping[str, Any]) -> bool:
    """True if the file at ``path`` is whole and holds ``state``."""
    try:
        return _checksum(*pack(load(path))) == _checksum(*pack(dict(state)))
    except UserError:
        return False


def paths(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first.

    Raises:
        UserError: the folder may not be read.
    """
    with reading(folder):
        if not folder.exists():
            return []
        return sorted(
            path for path in folder.iterdir() if _NAME.fullmatch(path.name) and not path.is_dir()
        )


def save_step(folder: Path, env_steps: int, state: Mapping[str, Any]) -> None:
    """Write the checkpoint at ``env_steps`` and remove those that are no longer needed."""
    save(folder / f"{env_steps:015d}.safetensors", state)
    for old in paths(folder)[:-_KEEP]:
        old.unlink()


def load_last(folder: Path, notify: Tell) -> dict[str, Any] | None:
    """The last checkpoint that is whole; None if there is no checkpoint.

    Args:
        folder: the folder of checkpoints.
        notify: called with a sentence on each damaged checkpoint.

    Raises:
        DamagedError: there are checkpoints, and none is whole.
        UserError: the last one may not be read.
    """
    checkpoints = paths(folder)
    for before, path in reversed(list(enumerate(checkpoints))):
        try:
            return load(path)
        except DamagedError as error:
            next_step = (
                "going on from the checkpoint before it" if before else "there is none before it"
            )
            notify(f"{error}; {next_step}.")
    if checkpoints:
        raise DamagedError(f"all {len(checkpoints)} checkpoints in {folder} are damaged")
    return None


def _checksum(skeleton: Any, tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of names, types, shapes and bytes of all tensors, and of the rest, as hex digits."""
    digest = hashlib.sha256(json.dumps(skeleton).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name} {tensor.dtype} {list(tensor.shape)}\0".encode())
        digest.update(raw_bytes(tensor))
    return digest.hexdigest()
