"""``metabridge check``: the conformance kit on a registered name or on a user's own family or agent."""

from __future__ import annotations

from typing import Any

from bridge.conformance import AGENT_CHECKS, FAMILY_CHECKS, verdicts
from bridge.errors import UserError, unknown
from bridge.references.registry import REFERENCES
from bridge.tasks import FAMILIES
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from experiments import agents, registry, runs, user_code


def check(target: str, family_spec: str) -> int:
    """Run every rule on ``target`` and print a line each; 0 when all hold."""
    family = make_family(family_spec or "bandit:k=5,n=10")
    with user_code.importable(target):
        subject, kind = _subject(target, family)
        if kind == "family" and family_spec:
            raise UserError(f"{target} is a family, and --family is for agents. Leave it out.")
        found = list(
            verdicts(FAMILY_CHECKS, subject)
            if kind == "family"
            else verdicts(AGENT_CHECKS, subject, family)
        )
    for verdict in found:
        print(
            f"broken  {verdict.error}"
            if verdict.error
            else f"holds   {verdict.rule}: {verdict.sentence}"
        )
    broken = sum(verdict.error is not None for verdict in found)
    print(
        f"{target}: {broken} rule(s) broken"
        if broken
        else f"{target} keeps the contract ({len(found)} rules)"
    )
    return 1 if broken else 0


def _subject(target: str, family: TaskFamily) -> tuple[Any, str]:
    """The family or agent that ``target`` names, and which of the two it is."""
    name = registry.name_of(target)
    if name in FAMILIES:
        return make_family(target), "family"
    if agents.is_name(target) or runs.is_folder(target):
        source = agents.resolve(target, family)
        agent: Any = source.load("id")
        return (agent.double() if source.takes_steps else agent), "agent"  # steps enlarge rounding
    if ":" not in target:
        raise unknown("family or method", target, [*FAMILIES, *REFERENCES, *registry.LEARNERS])
    return _users_own(target, family)


def _users_own(target: str, family: TaskFamily) -> tuple[Any, str]:
    """The family or agent that a user's ``module:name`` or ``path/to/file.py:name`` is or makes."""
    made = thing = user_code.load(target)
    if isinstance(thing, type) or (callable(thing) and not hasattr(thing, "card")):
        is_family = isinstance(thing, type) and issubclass(thing, TaskFamily)
        how = "without arguments" if is_family else "with (family, split), family or nothing"
        with user_code.as_user_errors(f"{target} cannot be made {how}"):
            made = thing() if is_family else user_code.call(thing, family, "id")
    if isinstance(made, TaskFamily):
        return made, "family"
    if hasattr(made, "card"):
        return made, "agent"
    raise UserError(
        f"{target} is neither a TaskFamily nor an agent, nor a constructor (family, split) -> agent."
    )
