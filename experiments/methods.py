"""What a spec names: a reference, a trained run, or a way to tune one; and the agent that it makes.

A reference's constructor is called as ``constructor(family, split, **parameters)`` and returns an agent. References may
use the split (``bayes`` knows its distribution); learned methods may not look at it. What transformers need is imported
when one is named.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from bridge import config
from bridge.errors import UserError, unknown
from bridge.protocol import Agent
from bridge.references.registry import REFERENCES, Constructor
from bridge.tasks.base import TaskFamily
from experiments import registry, training, tuning


def constructor(method: str, family: TaskFamily) -> Constructor | None:
    """What makes ``method`` (a bare name) on this kind of family; None where the method makes no sense there."""
    if method in registry.LEARNERS:
        raise UserError(
            f"{method} is trained first: metabridge train {method} --out RUN. Then give the folder RUN instead."
        )
    if method not in REFERENCES:
        raise unknown("method", method, REFERENCES)
    return next(
        (make for kind, make in REFERENCES[method].items() if isinstance(family, kind)), None
    )


def is_name(spec: str) -> bool:
    """Whether ``spec`` begins with the name of a method. Names win: the folder ``random`` is written ``./random``."""
    return any(
        registry.bare(spec) in names
        for names in (REFERENCES, registry.LEARNERS, registry.TEST_TIME_METHODS)
    )


def is_run(spec: str) -> bool:
    """Whether ``spec`` is the folder of a run, trained or fine-tuned, and no method's name."""
    return not is_name(spec) and training.is_run(spec)


def is_search(spec: str) -> bool:
    """Whether ``spec`` is the folder of a search, and no method's name."""
    return not is_name(spec) and tuning.is_search(spec)


def applies(spec: str, family: TaskFamily) -> bool:
    """Whether a method plays this kind of family; a learned one plays every kind."""
    if registry.is_learned(spec) or registry.is_way(spec):
        return True
    return constructor(config.split_spec(spec)[0], family) is not None


def agent(spec: str, family: TaskFamily, split: str) -> Agent:
    """The agent that ``spec`` names (``ucb1:c=0.1``, or a run folder), for ``split`` of ``family``."""
    if is_run(spec):
        return trained(spec, family)
    if registry.is_way(spec):
        from experiments import in_trial

        return in_trial.agent(spec, family)
    name, values = config.split_spec(spec)
    make = constructor(name, family)
    if make is None:
        kinds = ", ".join(sorted(kind.__name__ for kind in REFERENCES[name]))
        raise UserError(
            f"{name} does not play {family.id}: it is made for {kinds}. See: metabridge list methods"
        )
    built = make(family, split, **_parameters(spec, make, values))
    if values:
        built.card = dataclasses.replace(built.card, method=spec)
    return built


def trained(place: str, family: TaskFamily) -> Agent:
    """The agent that a folder of ``metabridge train`` or ``metabridge finetune`` holds."""
    if not training.is_tuned(place):
        return training.load_agent(place, family)
    from experiments import finetuning

    return finetuning.load_agent(place, family)


def check(spec: str, families: tuple[TaskFamily, ...]) -> None:
    """Refuse an unknown method or key before anything is played."""
    if registry.is_learned(spec):
        training.settings(spec)
        if spec.startswith("lora_demos_"):
            raise UserError(
                f"{spec} clones what it is shown, which is nothing here. Train it, and evaluate it on track C."
            )
        return
    if registry.is_way(spec):
        raise UserError(
            f"{spec} tunes a run that is there. Play it with metabridge evaluate, or train lora_*_icl_rl."
        )
    name, values = config.split_spec(spec)
    for family in families:
        make = constructor(name, family)
        if make is not None:
            _parameters(spec, make, values)


def _parameters(spec: str, make: Constructor, values: dict[str, str]) -> dict[str, Any]:
    """Values converted to the types of the constructor's defaults."""
    known = list(inspect.signature(make).parameters.values())[2:]
    defaults = {p.name: p.default for p in known if p.default is not inspect.Parameter.empty}
    for key in values.keys() - defaults.keys():
        raise unknown(f"key in {spec!r}:", key, defaults)
    return {
        key: config.convert(spec, key, text, type(defaults[key])) for key, text in values.items()
    }
