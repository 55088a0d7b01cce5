"""The folder of everything that is made once and kept for later: histories, converted models."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = "METABRIDGE_CACHE"
"""Environment variable with another folder than ~/.cache/metabridge."""


def cache_folder() -> Path:
    """The folder that ``METABRIDGE_CACHE`` names; ~/.cache/metabridge if it is not set."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "metabridge")
