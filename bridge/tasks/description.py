"""A family in words, for agents that read text: what happens, and how actions and observations are called.

A description has what all tasks of a family have in common, and nothing of a single task.
"""

from __future__ import annotations

from typing import NamedTuple


class Description(NamedTuple):
    """The words of a family. Nouns are singular and in lower case."""

    setting: str
    """One sentence or more on what there is and what actions do."""
    action: str
    """The noun for an action: arm, move."""
    step: str
    """The noun for a step: pull, step."""
    pays: str
    """The rewards: "0 or 1", "a number"."""
    names: tuple[str, ...] = ()
    """The name of each action; empty: actions have no meaning of their own."""
    place: str = ""
    """The noun for an observation: cell, state; empty: there is nothing to observe."""
