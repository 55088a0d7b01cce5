"""The rest of what the code states about a family or a method: docstrings, papers, keys with meanings, supervision.

``metabridge describe`` prints it. That of our own names stands in ``catalogue.json``.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import docstring_parser

from bridge import config, user_code
from bridge.errors import UserError
from bridge.protocol import Card
from bridge.references.registry import KNOW_TRAINING_TASKS, REFERENCES, constructor_of
from bridge.tasks.base import Discrete, Space, TaskFamily
from experiments import agents, own_agents, registry, test_time
from experiments.registry import LEARNERS, PRETRAINED, TEST_TIME_METHODS

Details = dict[str, Any]

_PAPER = re.compile(
    r"((?:[A-Z][\w-]+ et al\.|[A-Z][\w-]+(?:(?:, | & | )[A-Z][\w-]+)*) (?:19|20)\d\d)"
    r"(?:,? \(?(arXiv \d{4}\.\d{4,5}))?"
)
"""Authors and a year, and the number on arXiv if it follows."""
_GIVEN = {
    "nothing": "nothing",
    "id": "the id of a known task",
    "text": "a text",
    "task": "the task",
}
_FEW = 2
"""Fixed training tasks of a family, for references that know such."""
_STEPS = {"reward": "in every trial, by reward", "demos": "in every trial, by demonstrations"}
_READS = {
    "trial": "the trial so far",
    "episode": "the episode so far",
    "nothing": "the observation alone",
}


def of_family(family: TaskFamily) -> Details:
    """Return the details of a family."""
    about = _text(inspect.getmodule(family))
    if own := getattr(family, "place", ""):
        about = _text(user_code.load(own)) or about
    return {
        "about": about,
        "papers": _papers(about),
        "observation": _space(family.observation),
        "action": _space(family.action),
        "parameters": _of_fields(type(family)),
    }


def of_method(name: str, families: Iterable[TaskFamily]) -> Details:
    """Return the details of a reference, a learned method or a method of steps at test."""
    if name in REFERENCES:
        return _of_reference(name, playable(name, families))
    if name in LEARNERS:
        return _of_learner(name, families)
    if name in PRETRAINED:
        return _of_pretrained(name)
    return _of_test_time_method(name)


def playable(name: str, families: Iterable[TaskFamily]) -> list[TaskFamily]:
    """Return the families that a reference plays, with fixed training tasks if it has to know such."""
    if name in KNOW_TRAINING_TASKS:
        families = (
            dataclasses.replace(
                family, tasks=min(_FEW, family.support("train", whole=True) or _FEW)
            )
            for family in families
        )
    return [family for family in families if agents.plays(name, family)]


def of_own_agent(place: str) -> Details:
    """Return the details of what makes an agent at a place of a user's own.

    Raises:
        UserError: it cannot be loaded, or makes no agent.
    """
    thing = user_code.load(place)
    meanings = _meanings(thing)
    return {
        "about": _text(thing),
        "parameters": [
            {
                "key": key,
                "default": default,
                "values": config.allowed(type(default)) or "a text",
                "meaning": meanings.get(key, ""),
            }
            for key, default in own_agents.parameters(place).items()
        ],
    }


def _of_reference(name: str, families: list[TaskFamily]) -> Details:
    makers = {family.name: constructor_of(name, family) for family in families}
    cards = {family.name: makers[family.name](family, "id").card for family in families}
    docs = _grouped({name: _text(make) for name, make in makers.items()})
    return {
        "about": "\n\n".join(
            text if len(docs) == 1 else f"On {', '.join(on)}: {text}" for text, on in docs.items()
        ),
        "papers": _papers(" ".join((*docs, *map(_origin, makers.values())))),
        "exactness": _stated({name: card.exact_reference for name, card in cards.items()}),
        "supervision": _stated({name: card.supervision for name, card in cards.items()}),
        "given_at_test": _stated({name: _GIVEN[card.clue] for name, card in cards.items()}),
        "gradient_steps": "none",
        "parameters": _on_their_families(
            {name: _of_signature(make) for name, make in makers.items()}
        ),
    }


def _on_their_families(by_family: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The parameters of all families, each once, with its ``families`` if it is not for all of them."""
    found: list[dict[str, Any]] = []
    for parameter in itertools.chain(*by_family.values()):
        if parameter not in found:
            found.append(parameter)
    on = [[name for name, theirs in by_family.items() if each in theirs] for each in found]
    return [
        each if len(names) == len(by_family) else each | {"families": names}
        for each, names in zip(found, on, strict=True)
    ]


def _of_learner(name: str, families: Iterable[TaskFamily]) -> Details:
    method, about = LEARNERS[name], _without_shapes(inspect.cleandoc(LEARNERS[name].about))
    card = _card(method, families)
    return {
        "about": about,
        "papers": _papers(about),
        "supervision": card.supervision,
        "given_at_test": _GIVEN[card.clue],
        "reads": _READS[method.reads],
        "gradient_steps": _STEPS[method.signal] if method.takes_steps else "none",
        "parameters": _read(method),
    }


def _card(method: registry.Method, families: Iterable[TaskFamily]) -> Card:
    """The card of an agent of the method at its defaults, on the first family that it can be trained on.

    Raises:
        UserError: it can be trained on none.
    """
    if method.reads_text:  # the model may not be installed
        return Card(method="", supervision=getattr(method.learner, "supervision", "none"))
    refused = UserError("There is no family.")
    for family in families:
        try:
            return method.learner(family, method.config(), seed=0).agent().card
        except UserError as error:
            refused = error
    raise refused


def _of_pretrained(name: str) -> Details:
    method = PRETRAINED[name]
    about = _without_shapes(inspect.cleandoc(method.about))
    return {
        "about": about,
        "papers": _papers(about),
        "supervision": "the texts that its model was pretrained on",
        "given_at_test": "nothing of the task",
        "reads": _READS["trial"],
        "gradient_steps": _STEPS[method.signal] if method.takes_steps else "none",
        "parameters": _of_fields(method.config),
    }


def _of_test_time_method(name: str) -> Details:
    method = TEST_TIME_METHODS[name]
    moves = f"Weights that move: {_first_lower(_text(method.config))}"
    return {
        "about": f"{_text(method.config) if method.hands_over else moves}\n\n{_text(test_time)}",
        "papers": [],
        "supervision": "that of its run",
        "given_at_test": "nothing",
        "reads": "what its run reads",
        "gradient_steps": "the other agent's" if method.hands_over else _STEPS[method.signal],
        "parameters": _read(method),
    }


def _read(method: registry.Method | registry.TestTimeMethod) -> list[dict[str, Any]]:
    """The parameters of a method that it reads."""
    for_reward = getattr(method.config, "by_reward", ()) if method.signal == "demos" else ()
    return [each for each in _of_fields(method.config) if each["key"] not in for_reward]


def _of_fields(cls: type[Any]) -> list[dict[str, Any]]:
    """The parameters that are the fields of a dataclass."""
    hints, meanings = typing.get_type_hints(cls, include_extras=True), _meanings(cls)
    conditions = getattr(cls, "read_if", {})
    return [
        _parameter(field.name, field.default, hints[field.name], meanings)
        | ({"only_with": _condition(*conditions[field.name])} if field.name in conditions else {})
        for field in dataclasses.fields(cls)
    ]


def _of_signature(make: Callable[..., Any]) -> list[dict[str, Any]]:
    """The parameters of a reference: the arguments of its constructor after family and split."""
    typed = make.__init__ if inspect.isclass(make) and not dataclasses.is_dataclass(make) else make
    hints, meanings = typing.get_type_hints(typed, include_extras=True), _meanings(make)
    return [
        _parameter(key, default, hints[key], meanings)
        for key, default in agents.parameters(make).items()
    ]


def _parameter(key: str, default: Any, hint: Any, meanings: Mapping[str, str]) -> dict[str, Any]:
    return {
        "key": key,
        "default": default,
        "values": config.allowed(hint),
        "meaning": meanings.get(key, ""),
    }


def _condition(other: str, values: tuple[Any, ...]) -> str:
    return f"{other}={'|'.join(map(str, values))}"


def _meanings(thing: Any) -> dict[str, str]:
    """The sentences on parameters: those of a function, or of a class and its bases."""
    parts = reversed(inspect.getmro(thing)[:-1]) if inspect.isclass(thing) else (thing,)
    return {key: meaning for part in parts for key, meaning in _documented(part).items()}


@functools.cache
def _documented(thing: Any) -> dict[str, str]:
    """The sentences below the fields of a class, and those below ``Args:`` in its docstring or a function's."""
    return {
        parameter.arg_name: _first_upper(" ".join((parameter.description or "").split()))
        for parameter in docstring_parser.parse_from_object(thing).params
    }


def _text(thing: Any) -> str:
    """The docstring without its sections and its letters of shapes."""
    about = docstring_parser.parse(inspect.getdoc(thing) or "").description or ""
    return _without_shapes(about.rstrip())


def _without_shapes(about: str) -> str:
    paragraphs = about.split("\n\n")
    return "\n\n".join(each for each in paragraphs if not each.startswith("Shape letters:"))


def _origin(thing: Any) -> str:
    """The first paragraph of the docstring of its module."""
    return (inspect.getdoc(inspect.getmodule(thing)) or "").split("\n\n")[0]


def _first_lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _first_upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _papers(about: str) -> list[str]:
    """The papers that a docstring names before its deviations from them: ``Duan et al. 2016, arXiv 1611.02779``."""
    named = re.split(r"Deviations?\b", " ".join(about.split()))[0]
    numbers: dict[str, str] = {}
    for authors, number in _PAPER.findall(named):
        numbers[authors] = numbers.get(authors) or number
    return [", ".join(filter(None, paper)) for paper in numbers.items()]


def _space(space: Space) -> str:
    if isinstance(space, Discrete):
        return f"one of {space.n}" if space.n > 1 else "always the same"
    return f"{len(space.low)} numbers from {min(space.low):g} to {max(space.high):g}"


def _grouped(by_family: Mapping[str, str]) -> dict[str, list[str]]:
    """The families that have each value."""
    groups: dict[str, list[str]] = {}
    for family, value in by_family.items():
        groups.setdefault(value, []).append(family)
    return groups


def _stated(by_family: Mapping[str, str]) -> str:
    """A value that all families share, or each value with its families."""
    groups = _grouped(by_family)
    if len(groups) == 1:
        return next(iter(groups))
    return "; ".join(f"{value} on {', '.join(on)}" for value, on in groups.items())
