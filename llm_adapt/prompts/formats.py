"""Prompt formats by name: each is a set of choices that change the text and not the information in it.

The factors are those of Krishnamurthy et al. 2024 (arXiv 2403.15371: scenario, framing, raw or summarised history), of
FormatSpread (Sclar et al. 2024, arXiv 2310.11324: separators and case), label words, order and decimals. All wording is
our own. A format is part of a result: one whose text changes gets a higher version.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from bridge.errors import UserError, unknown

Labels = Literal["own", "letters", "digits", "colours", "invented"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A way to write a task and its history."""

    name: str = "log"
    version: int = 1
    layout: Literal["log", "question", "dialogue"] = "log"
    """log: plain text that ends where the next action stands. question: one message of a conversation, which ends with
    a question. dialogue: a message for each step, answered by an action. log and dialogue only append."""
    history: Literal["raw", "summary"] = "raw"
    """raw: a line for each step. summary: a line for each arm, with its number of pulls and its mean reward."""
    scenario: Literal["plain", "buttons", "adverts"] = "plain"
    """The story: the family's own description, or another one for bandits."""
    framing: Literal["neutral", "suggestive"] = "neutral"
    """suggestive: a sentence advises to balance trying and exploiting."""
    labels: Labels = "own"
    """Words for actions. own: the names that the family has for them, else letters."""
    order: Literal["given", "reversed"] = "given"
    """Order in which actions are listed."""
    template: Literal["plain", "terse", "capitals"] = "plain"
    """Separators and case of a line."""
    decimals: int = -1
    """Digits behind the point of every reward; -1: at most two, without zeros at the end."""
    examples: int = 0
    """Number of demonstrations: trials on training tasks that come first, played by a good agent."""

    @property
    def id(self) -> str:
        """The name with its version, as results have it."""
        return f"{self.name}-v{self.version}"

    @property
    def appends(self) -> bool:
        """True if the prompt of a step begins with the whole prompt of the step before."""
        return self.history == "raw" and self.layout != "question"


BASE = Format()
_CHANGES: dict[str, dict[str, object]] = {
    "log": {},
    "summary": {"history": "summary"},
    "question": {"layout": "question"},
    "question_summary": {"layout": "question", "history": "summary"},
    "dialogue": {"layout": "dialogue"},
    "buttons": {"scenario": "buttons"},
    "adverts": {"scenario": "adverts"},
    "suggestive": {"framing": "suggestive"},
    "letters": {"labels": "letters"},
    "digits": {"labels": "digits"},
    "colours": {"labels": "colours"},
    "invented": {"labels": "invented"},
    "reversed": {"order": "reversed"},
    "decimals": {"decimals": 2},
    "terse": {"template": "terse"},
    "capitals": {"template": "capitals"},
    "examples": {"examples": 2},
    "buttons_summary_suggestive": {
        "scenario": "buttons",
        "history": "summary",
        "framing": "suggestive",
        "layout": "question",
    },
}
FORMATS = {name: replace(BASE, name=name, **changes) for name, changes in _CHANGES.items()}
"""All formats by name. Each but the last changes one or two factors of ``log``."""


def named(name: str) -> Format:
    """The format of this name, which may have its version: ``log``, ``log-v1``.

    Raises:
        UserError: there is none (it suggests the nearest name), or it has another version by now.
    """
    plain, _, version = name.partition("-v")
    if plain not in FORMATS:
        raise unknown("prompt format", name, FORMATS)
    found = FORMATS[plain]
    if version and found.id != name:
        raise UserError(
            f"The prompt format {plain} has version {found.version} here, and {name} is asked for: its text was "
            "another one. Leave the version out for that of now; train a run of it again."
        )
    return found
