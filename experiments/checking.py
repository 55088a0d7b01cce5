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
    family = make_family(family_spec or agents.own_family(target))
    with user_code.importable(target):
        subject = _subject(target, family)
        if not isinstance(subject, TaskFamily):
            found = list(verdicts(AGENT_CHECKS, subject, family))
        elif family_spec:
            raise UserError(f"{target} is a family, and --family is for agents. Leave it out.")
        else:
            found = list(verdicts(FAMILY_CHECKS, subject))
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


def _subject(target: str, family: TaskFamily) -> Any:
    """The family or agent that ``target`` names."""
    if registry.name_of(target) in FAMILIES:
        return make_family(target)
    if agents.is_name(target) or runs.is_folder(target):
        source = agents.resolve(target, family)
        agent: Any = source.load("id")
        return agent.double() if source.takes_steps else agent  # steps enlarge rounding
    if ":" not in target:
        raise unknown("family or method", target, [*FAMILIES, *REFERENCES, *registry.LEARNERS])
    return _users_own(target, family)


def _users_own(target: str, family: TaskFamily) -> Any:
    """The family or agent that a user's ``module:name`` or ``path/to/file.py:name`` is or makes."""
    made = thing = user_code.load(target)
    if isinstance(thing, type) or (callable(thing) and not hasattr(thing, "card")):
        is_family = isinstance(thing, type) and issubclass(thing, TaskFamily)
        how = "without arguments" if is_family else "with (family, split), family or nothing"
        with user_code.as_user_errors(f"{target} cannot be made {how}"):
            made = thing() if is_family else user_code.call(thing, family, "id")
    if isinstance(made, TaskFamily) or hasattr(made, "card"):
        return made
    raise UserError(
        f"{target} is neither a TaskFamily nor an agent, nor a constructor (family, split) -> agent."
    )
