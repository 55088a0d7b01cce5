"""The version of this package, and the commit if it runs from a checkout."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path
from typing import NamedTuple


class Checkout(NamedTuple):
    """The state of a checkout."""

    commit: str
    changed: bool
    """True if files differ from the commit."""


def version() -> str:
    """Return the version, with the commit of a checkout: ``0.1.0 (commit 782d26b, with changes)``."""
    try:
        number = metadata.version("metabridge")
    except metadata.PackageNotFoundError:
        number = "not installed"
    found = checkout()
    if found is None:
        return number
    return f"{number} (commit {found.commit[:7]}{', with changes' if found.changed else ''})"


def checkout() -> Checkout | None:
    """Return the state of the checkout that this file is of; None if it is of none, but installed."""
    if not _git("ls-files", Path(__file__).name):
        return None
    return Checkout(_git("rev-parse", "HEAD"), bool(_git("status", "--porcelain", "-uno")))


def _git(*arguments: str) -> str:
    """The output of git in this folder; empty if it fails or is not there."""
    try:
        done = subprocess.run(
            ("git", *arguments),
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip()
