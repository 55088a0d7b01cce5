"""A family in words, for agents that read text: what happens, and how actions and observations are called.

A description has what all tasks of a family have in common, and nothing of a single task.
"""

from __future__ import annotations

from typing import NamedTuple


class Description(NamedTuple):
    """The words of a family. Nouns are singular and in lower case."""

    setting: str
    """What there is and what actions do, in one sentence or more."""
    action: str
    """What an action is called: arm, move."""
    step: str
    """What a step is called: pull, step."""
    pays: str
    """The rewards: "0 or 1", "a number"."""
    names: tuple[str, ...] = ()
    """The name of each action; empty: actions have no meaning of their own."""
    place: str = ""
    """What an observation is called: cell, state; empty: there is nothing to observe."""
