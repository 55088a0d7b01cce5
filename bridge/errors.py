"""Errors that a user can act on; each message has what was expected, what was found, and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Invalid input. The command prints the text without a traceback and exits with code 2."""


class DivergenceError(UserError):
    """Training produced NaN."""


class StorageError(UserError):
    """A file could not be written; its previous content is unchanged."""


class ContractError(UserError):
    """An agent or a family broke the contract (a NaN, a wrong shape, a forbidden clue)."""


def in_words(error: BaseException) -> str:
    """An error as its traceback ends: ``KeyError: 'arms'``; its type alone if it has no message."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def unknown(kind: str, found: str, known: Iterable[str]) -> UserError:
    """The error for an unknown name, with the nearest known one."""
    names = sorted(known)
    return UserError(
        f"Unknown {kind} {found!r}. {nearest(found, names)}Known: {', '.join(names) or 'none'}."
    )


def nearest(found: str, known: Iterable[str]) -> str:
    """A question with the known name that is nearest to ``found``, and a space; empty if none is near."""
    near = difflib.get_close_matches(found, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}? " if near else ""
