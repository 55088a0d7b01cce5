"""Folders that hold one thing: a marker file states what, and every later command must agree with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge import files, json_files
from bridge.errors import UserError


def claim(marker: Path, about: Mapping[str, Any], what: str) -> None:
    """Write ``about`` into ``marker``, beside what it held before. A later command settles what is None.

    Raises:
        UserError: the marker cannot be read, lacks the first key of ``about``, or has another value for one of its
            keys. ``what`` names the contents of the folder, such as "comparison".
    """
    remedy, before = _remedy(marker), _read(marker)
    if before and next(iter(about)) not in before:
        raise UserError(f"{marker} cannot be read (another version wrote it). {remedy}")
    settled = {key: value for key, value in about.items() if value is not None}
    for key, value in settled.items():
        if before.get(key) not in (None, value):
            raise UserError(
                f"{marker.parent} holds another {what}: {key}: {before[key]} there, {value} here. Give the same "
                "settings, or choose another --out."
            )
    found = {**about, **before, **settled}
    files.write_text(marker, json.dumps(found, sort_keys=True, indent=1) + "\n")


def agrees(marker: Path, about: Mapping[str, Any]) -> bool:
    """Return True if ``marker`` is there and has the values of ``about``.

    Raises:
        UserError: it cannot be read.
    """
    found = _read(marker)
    return bool(found) and all(found.get(key) == value for key, value in about.items())


def _read(marker: Path) -> dict[str, Any]:
    """The content of a marker; empty if there is none."""
    return json_files.read_object(marker, _remedy(marker)) if marker.exists() else {}


def _remedy(marker: Path) -> str:
    return f"Choose another --out, or remove it with what lies beside it in {marker.parent}."
