"""``metabridge check``: the conformance kit on a registered name or on a user's own family or agent."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from bridge import config
from bridge.conformance import AGENT_CHECKS, FAMILY_CHECKS, verdicts
from bridge.errors import UserError, unknown
from bridge.finetuning.agent import FineTuned
from bridge.tasks import FAMILIES
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from experiments import methods, registry
from rl_algos.inner_loop import GradientAgent


def check(target: str, family_spec: str) -> int:
    """Run every rule on ``target`` and print a line each; 0 when all hold."""
    family = make_family(family_spec or "bandit:k=5,n=10")
    subject, kind = resolve(target, family)
    if kind == "family" and family_spec:
        raise UserError(f"{target} is a family, and --family is for agents. Leave it out.")
    found = list(verdicts(FAMILY_CHECKS, subject) if kind == "family" else verdicts(AGENT_CHECKS, subject, family))
    for verdict in found:
        print(f"broken  {verdict.error}" if verdict.error else f"holds   {verdict.rule}: {verdict.sentence}")
    broken = sum(verdict.error is not None for verdict in found)
    print(f"{target}: {broken} rule(s) broken" if broken else f"{target} keeps the contract ({len(found)} rules)")
    return 1 if broken else 0


def resolve(target: str, family: TaskFamily) -> tuple[Any, str]:
    """What ``target`` names, and whether it is a family or an agent."""
    name = config.split_spec(target)[0] if "=" in target or ":" not in target else ""
    if name in FAMILIES:
        return make_family(target), "family"
    if methods.is_run(target) or registry.is_way(target):
        agent = methods.agent(target, family, "id")
        steps = isinstance(agent, GradientAgent | FineTuned)
        return (agent.double() if steps else agent), "agent"  # steps enlarge rounding errors
    if name in methods.REFERENCES or name in registry.LEARNERS:
        return methods.agent(target, family, "id"), "agent"
    if ":" not in target or name:
        raise unknown("family or method", name or target, [*FAMILIES, *methods.REFERENCES, *registry.LEARNERS])
    thing = _load(target)
    is_family = isinstance(thing, type) and issubclass(thing, TaskFamily)
    try:
        made = (
            thing() if is_family else thing(family, "id") if callable(thing) and not hasattr(thing, "card") else thing
        )
    except Exception as error:
        how = "without arguments" if is_family else "with (family, split)"
        raise UserError(f"{target} cannot be made {how}: {type(error).__name__}: {error}") from error
    if isinstance(made, TaskFamily):
        return made, "family"
    if hasattr(made, "card"):
        return made, "agent"
    raise UserError(f"{target} is neither a TaskFamily nor an agent, nor a constructor (family, split) -> agent.")


def _load(target: str) -> Any:
    place, _, attribute = target.rpartition(":")
    try:
        if place.endswith(".py"):
            if not Path(place).is_file():
                raise UserError(f"There is no file {place}. Write path/to/file.py:name.")
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            if spec is None or spec.loader is None:
                raise UserError(f"{place} is not a Python file.")
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{place} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise unknown(f"name in {place}:", attribute, [n for n in vars(module) if not n.startswith("_")])
    return getattr(module, attribute)
