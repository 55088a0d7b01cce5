"""Errors that a user can act on: what was expected, what was found, and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The command prints its text alone and exits with code 2; no traceback reaches a user."""


class DivergenceError(UserError):
    """Training came to numbers that are none."""


class StorageError(UserError):
    """A file could not be written; what was there before is untouched."""


class ContractError(UserError):
    """An agent or a family broke the contract (a NaN, a wrong shape, a forbidden clue)."""


def unknown(kind: str, found: str, known: Iterable[str]) -> UserError:
    """The error for a name that nobody has, with the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(found, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return UserError(f"Unknown {kind} {found!r}. {hint}Known: {', '.join(names) or 'none'}.")
