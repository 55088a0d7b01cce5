"""``--vary`` and ``--shift``: what varies between the tasks of a Gymnasium environment, beside ``--family gym:NAME``.

They are a part of the family, so that they are written into its name before the command line is read:

    --family gym:CartPole-v1 --vary length=0.4:0.8 --shift length=0.8:1.6
    --family gym:CartPole-v1,vary=length=0.4..0.8,shift=length=0.8..1.6
"""

from __future__ import annotations

import re

from bridge.config import split_list
from bridge.errors import UserError

FLAGS = ("--vary", "--shift")
_FAMILY = ("--family", "--families")
_KNOB = re.compile(r"[^\W\d][\w.]*=\S+")
_RANGE = re.compile(r"(?<=\d):(?=[-+.\d])|(?<=\d\.):(?=[-+.\d])")
"""The colon between two numbers."""


def with_knobs(given: list[str]) -> list[str]:
    """Return a command line in which the family holds what ``--vary`` and ``--shift`` say.

    Raises:
        UserError: they are given without one family of Gymnasium's, or without a value.
    """
    knobs: dict[str, list[str]] = {}
    rest: list[str] = []
    flag = ""
    for word in given:
        name, equals, value = word.partition("=")
        if name in FLAGS:
            flag = name
            knobs.setdefault(flag, []).extend([value] if equals else [])
        elif flag and _KNOB.fullmatch(word):
            knobs[flag].append(word)
        else:
            flag = ""
            rest.append(word)
    for flag, values in knobs.items():
        if not values:
            raise UserError(f"{flag} names nothing. Write {flag} length=0.4:0.8")
    return _written(rest, knobs) if knobs else given


def _written(words: list[str], knobs: dict[str, list[str]]) -> list[str]:
    """The words of a command line with knobs in the one family that they are of."""
    text = "".join(
        f",{flag[2:]}={'+'.join(_RANGE.sub('..', value) for value in values)}"
        for flag, values in knobs.items()
    )
    found, written = 0, []
    for word in words:
        name, equals, value = word.partition("=")
        before = f"{name}=" if equals and name in _FAMILY else ""
        families = split_list([value if before else word])
        mine = [family for family in families if family.partition(":")[0] == "gym"]
        if mine and (before or not word.startswith("-")):
            found += len(mine)
            new = (_with(family, text) if family in mine else family for family in families)
            word = before + ",".join(new)
        written.append(word)
    if found != 1:
        flags = " and ".join(knobs)
        raise UserError(
            f"What {flags} say{'s' * (len(knobs) == 1)} is of one Gymnasium environment; found {found}. Give it: "
            "--family gym:CartPole-v1"
        )
    return written


def _with(family: str, text: str) -> str:
    """The family with knobs; ``gym`` alone is the default environment."""
    return f"{family}{text}" if ":" in family else f"{family}:{text[1:]}"
