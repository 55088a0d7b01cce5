"""The resolver: ``resolve(spec, family)`` decides which agent a spec names, and describes it.

    bayes, ucb1:c=0.1               a reference
    results/rl2-0                   the folder of a trained run
    zoo:icl_rl/gridnavi             a trained run that ships with the package
    zoo:icl_rl                      that of the family that is played
    results/rl2-0-lora              the folder of a run that was fine-tuned for a whole family
    lora_reward:run=results/icl-0   a trained run with gradient steps at test
    prompted_smollm2:format=terse   a pretrained language model with a prompt
    rl2:hidden=128                  a method that is trained first (``compare`` trains it)
    path/to/own.py:Mine:c=0.1       a user's own: a class, a function that makes an agent, or an agent; also module:Mine
    results/search                  the folder of a hyperparameter search, whose choice is trained first

A new kind of agent is one more class in ``experiments/sources.py``, and one more line here. Names win over
folders: the folder ``random`` is written ``./random``.
"""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge import config
from bridge.errors import UserError, unknown
from bridge.references.registry import REFERENCES, Constructor, DoesNotPlayError, constructor_of
from bridge.tasks import is_family
from experiments import own_agents, registry, specs, zoo
from experiments.registry import LEARNERS, PRETRAINED, TEST_TIME_METHODS
from experiments.sources import (
    Finetuned,
    Handover,
    Own,
    Pretrained,
    Reference,
    Run,
    Search,
    Source,
    TestTime,
    Untrained,
)

if TYPE_CHECKING:
    from bridge.protocol import Agent
    from bridge.tasks.base import TaskFamily


@dataclass(frozen=True)
class Behaviour(Source):
    """The agent that makes the context of track C: ``base``, except where the split sets the context's quality."""

    base: Source

    @classmethod
    def of(cls, spec: str, family: TaskFamily) -> Behaviour:
        """Resolve ``spec``; empty: random."""
        return cls(spec, family, resolve(spec or "random", family))

    def load(self, split: str) -> Agent:
        parsed = self.family.split(split)
        if parsed.axis == "context_quality":
            return load(f"graded:noise={parsed.value}", self.family, split)
        return self.base.load(split)


def resolve(spec: str, family: TaskFamily) -> Source:
    """Return a description of the agent that ``spec`` names, on ``family``.

    Raises:
        DoesNotPlayError: a reference that is not made for this kind of family.
        UserError: an unknown name, key or value, or a folder that holds nothing to play.
    """
    name = registry.name_of(spec)
    if name in REFERENCES:
        return _reference(spec, family)
    if name in LEARNERS:
        return Untrained(spec, family, LEARNERS[name], registry.configure(spec, LEARNERS[name]))
    if name in TEST_TIME_METHODS:
        settings = registry.configure(spec, TEST_TIME_METHODS[name])
        kind = Handover if TEST_TIME_METHODS[name].hands_over else TestTime
        return kind(spec, family, _base(name, settings.run, family), settings)
    if name in PRETRAINED:
        return _pretrained(spec, name, family)
    if specs.own_place(spec):
        return _own(spec, family)
    if not (zoo.is_entry(spec) or os.sep in spec or Path(spec).is_dir()):
        raise unknown(
            "method or run", name, [*REFERENCES, *LEARNERS, *TEST_TIME_METHODS, *PRETRAINED]
        )
    return folder(spec, family)


def plays(spec: str, family: TaskFamily) -> bool:
    """Return True if ``spec`` plays this kind of family; what is trained plays the family that it was trained on.

    Raises:
        UserError: as ``resolve``.
    """
    try:
        return resolve(spec, family).of_family
    except DoesNotPlayError:
        return False


def load(spec: str, family: TaskFamily, split: str) -> Agent:
    """Return the agent that ``spec`` names, for ``split`` of ``family``.

    Raises:
        UserError: as ``resolve``, or there is no agent yet.
    """
    return resolve(spec, family).load(split)


def _reference(spec: str, family: TaskFamily) -> Reference:
    name, values = config.split_spec(spec)
    make = constructor_of(name, family)
    return Reference(spec, family, make, _converted(spec, values, parameters(make)))


def _pretrained(spec: str, name: str, family: TaskFamily) -> Pretrained:
    if family.describe() is None:
        raise DoesNotPlayError(
            f"{name} reads text, and {family.id} has no description in words. See: metabridge list methods"
        )
    source = Pretrained(spec, family, PRETRAINED[name], registry.configure(spec, PRETRAINED[name]))
    source.check()
    return source


def _own(spec: str, family: TaskFamily) -> Own:
    place = specs.own_place(spec)
    if is_family(spec):
        raise UserError(f"{place} is a family, and an agent is asked for. Give --family {spec}")
    _, values = config.split_spec(spec, place)
    return Own(spec, family, place, _converted(spec, values, own_agents.parameters(place)))


def _converted(spec: str, values: dict[str, str], defaults: dict[str, Any]) -> dict[str, Any]:
    """The parameters in ``spec``, each as the type of its default."""
    for key in values.keys() - defaults.keys():
        raise unknown(f"key in {spec!r}:", key, defaults)
    return {
        key: config.convert(spec, key, text, type(defaults[key])) for key, text in values.items()
    }


def parameters(make: Constructor) -> dict[str, Any]:
    """Return the parameters of a reference, with their defaults."""
    _family, _split, *own = inspect.signature(make).parameters.values()
    return {parameter.name: parameter.default for parameter in own}


def folder(spec: str, family: TaskFamily) -> Source:
    """Return a description of what a folder holds, whatever its name.

    Raises:
        UserError: it is neither a run folder nor one of a search.
    """
    from experiments import runs, search

    if zoo.is_method(spec):
        spec = specs.in_zoo(spec, family)
    if search.is_folder(spec):
        return Search(spec, family)
    run = runs.read(spec)
    return Finetuned(spec, family) if run.method is None else Run(spec, family, run.method)


def _base(name: str, run: str, family: TaskFamily) -> Run:
    """The trained run whose weights a test-time method moves."""
    if not run:
        raise UserError(f"{name} needs a trained run. Name its folder: {name}:run=RUN")
    base = folder(run, family)
    if isinstance(base, Finetuned):
        raise UserError(
            f"{run} is tuned already, for a whole family. Tune the run that it came from."
        )
    if not isinstance(base, Run):
        raise UserError(f"{run} is a tuning folder. Take one of the run folders in it: {run}/000")
    return base
