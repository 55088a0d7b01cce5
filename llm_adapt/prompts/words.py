"""The words of prompts: labels of actions, stories of bandits, and templates of lines."""

from __future__ import annotations

import re
from string import ascii_uppercase
from typing import NamedTuple

from bridge.errors import UserError
from bridge.tasks.description import Description
from llm_adapt.prompts.formats import Format, Labels

_COLOURS = [
    "red",
    "blue",
    "green",
    "yellow",
    "purple",
    "orange",
    "pink",
    "brown",
    "black",
    "white",
    "grey",
    "gold",
]
_INVENTED = [
    "dax",
    "wug",
    "fep",
    "blick",
    "zup",
    "tiv",
    "nolo",
    "gip",
    "mip",
    "kex",
    "lorp",
    "vosh",
    "rull",
    "snib",
    "tarn",
    "quib",
    "yemp",
    "hask",
    "jull",
    "pode",
]
_WORDS: dict[Labels, list[str]] = {
    "letters": list(ascii_uppercase),
    "colours": _COLOURS,
    "invented": _INVENTED,
}


def labels(kind: Labels, description: Description, count: int) -> tuple[str, ...]:
    """The word for each of ``count`` actions.

    Digits have as many places as the last one needs, so that none begins with another.

    Raises:
        UserError: there are not as many words.
    """
    if kind == "own" and description.names:
        return description.names
    if kind == "digits":
        return tuple(f"{number:0{len(str(count))}d}" for number in range(1, count + 1))
    words = _WORDS["letters" if kind == "own" else kind]
    if count > len(words):
        raise UserError(
            f"There are {len(words)} labels of kind {kind!r}, and {count} actions. Choose format=digits, or fewer "
            "actions."
        )
    return tuple(words[:count])


def in_scenario(format: Format, description: Description, count: int) -> Description:
    """The description in the scenario of a format; ``count`` actions.

    Raises:
        UserError: the scenario is a story of bandits, and the family is none.
    """
    if format.scenario == "plain":
        return description
    if description.place:
        raise UserError(
            f"format={format.name} tells a story of arms, and this family has {description.place}s. Choose a format "
            "with the scenario plain, such as log."
        )
    pays = description.pays
    if format.scenario == "buttons":
        setting = (
            f"You stand in front of {count} buttons. Each press of a button pays {pays}. Some buttons pay more than "
            "others."
        )
        return description._replace(setting=setting, action="button", step="press")
    setting = (
        f"A web page has room for one advert, and there are {count} adverts to choose from. For each visitor one "
        f"advert is shown, and its result is {pays}: more is better. Some adverts do better than others."
    )
    return description._replace(setting=setting, action="advert", step="visitor")


class Template(NamedTuple):
    """The text of lines, with fields in braces. A line of a step is ``query``, the label and ``result``."""

    query: str
    """Up to the label: ``{step}``, ``{number}``, ``{place}`` (``here`` or nothing) and ``{action}``."""
    here: str
    """The place within ``query``: ``{kind}`` and ``{value}``."""
    result: str
    """After the label: ``{reward}``."""
    pulled: str
    """A line of a summary: ``{action}``, ``{label}``, ``{count}`` and ``{mean}``."""
    untried: str
    """A line of a summary without pulls: ``{action}`` and ``{label}``."""
    episode: str
    """The line before an episode: ``{number}``."""
    over: str
    """The line after an episode: ``{kind}`` and ``{value}``."""


PLAIN = Template(
    query="{step} {number}: {place}{action}",
    here="{kind} {value}, ",
    result=", reward {reward}\n",
    pulled="{action} {label}: count {count}, mean reward {mean}\n",
    untried="{action} {label}: count 0\n",
    episode="Episode {number}\n",
    over="The episode ends in {kind} {value}.\n",
)


def _capitals(line: str) -> str:
    """A line in upper case with dashes; fields stay."""
    parts = re.split(r"({\w+})", line.replace(",", " -").replace(":", " -"))
    return "".join(part if part.startswith("{") else part.upper() for part in parts)


TEMPLATES = {
    "plain": PLAIN,
    "terse": Template(
        query="{number}{place}",
        here=" {value}",
        result=" {reward}\n",
        pulled="{label} {count} {mean}\n",
        untried="{label} 0\n",
        episode="E{number}\n",
        over="end {value}\n",
    ),
    "capitals": Template(*(_capitals(line) for line in PLAIN)),
}
