"""A family in words, for agents that read text: what happens, and how actions and observations are called.

A description says what every task of a family has in common, and nothing about a single task.
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
    names: tuple[str, ...] = ()
    """The name of each action; empty: actions have no meaning of their own."""
    place: str = ""
    """What an observation is called: cell, state; empty: there is nothing to observe."""
