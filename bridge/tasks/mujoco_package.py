"""The package ``mujoco``: imported when it is needed, in the versions with which our numbers can be compared."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from bridge.errors import UserError

VERSIONS = ((3, 3), (3, 5))
"""The first version that steps batches of different bodies, and the first one that moves ant and hopper differently
(findings/mujoco-ant-and-hopper-changed.sh): numbers on the two sides of it cannot be compared."""


def package(needed_by: str, extra: str) -> Any:
    """Return the package ``mujoco``.

    Args:
        needed_by: what needs it, in the plural, for errors.
        extra: the extra of ours that installs it, for errors.

    Raises:
        UserError: it is not installed, or a version that moves bodies differently.
    """
    first, last = (".".join(map(str, version)) for version in VERSIONS)
    remedy = f"Install it: pip install 'metabridge[{extra}]'"
    try:
        import mujoco
        import mujoco.rollout
    except ImportError as error:
        raise UserError(f"{needed_by} need mujoco ({error}). {remedy}") from error
    found = tuple(int(part) for part in mujoco.__version__.split(".")[:2])
    if not VERSIONS[0] <= found < VERSIONS[1]:
        raise UserError(
            f"{needed_by} need mujoco from {first} up to {last}, and not {last} itself, with which bodies move "
            f"differently; found {mujoco.__version__}. {remedy}"
        )
    return mujoco


def version() -> str:
    """Return the version of ``mujoco``; "none" if it is not installed."""
    try:
        return importlib.metadata.version("mujoco")
    except importlib.metadata.PackageNotFoundError:
        return "none"
