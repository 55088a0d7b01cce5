"""``metabridge check``: the conformance kit on a registered name or on a user's own family or agent."""

from __future__ import annotations

from typing import Any

from bridge.conformance import AGENT_CHECKS, FAMILY_CHECKS, Verdict, verdicts
from bridge.conformance.rules import OTHER_KIND
from bridge.errors import UserError, unknown
from bridge.references.registry import REFERENCES
from bridge.tasks import FAMILIES, is_family
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from bridge.words import counted
from experiments import agents, registry, runs, specs, zoo


def check(target: str, family_spec: str) -> int:
    """Run every rule on ``target`` and print a line each; 0 when all hold."""
    if specs.is_name(target) or zoo.is_entry(target) or not is_family(target):
        family = make_family(family_spec or specs.own_family(target))
        found = list(verdicts(AGENT_CHECKS, _agent(target, family), family))
        where = f" on {family.id}"
    elif family_spec:
        raise UserError(f"{target} is a family, and --family is for agents. Leave it out.")
    else:
        family = make_family(target)
        _check_it_is_there(family)
        every, where = verdicts(FAMILY_CHECKS, family), ""
        found = [verdict for verdict in every if verdict.left_out != OTHER_KIND]
    crashes: set[str] = set()
    for verdict in found:
        print(_line(verdict, again=verdict.crash in crashes))
        crashes |= {verdict.crash} - {""}
    broken = sum(verdict.error is not None for verdict in found)
    left_out = sum(bool(verdict.left_out) for verdict in found)
    if broken:
        print(f"{target}{where}: {counted(broken, 'rule')} broken")
        return 1
    held = counted(len(found) - left_out, "rule") + f", {left_out} left out" * bool(left_out)
    print(f"{target} keeps the contract{where} ({held})")
    return 0


def _check_it_is_there(family: TaskFamily) -> None:
    """Refuse a family whose environment does not exist: that is one error, and breaks no rule.

    Raises:
        UserError: its trials cannot be made, and it says why.
    """
    try:
        family.trial("id")
    except UserError:
        raise
    except Exception:  # the rules report it
        return


def _line(verdict: Verdict, *, again: bool) -> str:
    """What came of a rule. A crash that stopped a rule before (``again``) is not told again."""
    if verdict.left_out:
        return f"left out {verdict.rule}: {verdict.left_out}"
    if verdict.error is None:
        return f"holds   {verdict.rule}: {verdict.sentence}"
    return f"broken  {verdict.rule}: the same error." if again else f"broken  {verdict.error}"


def _agent(target: str, family: TaskFamily) -> Any:
    """The agent that ``target`` names."""
    if not (specs.is_name(target) or specs.own_place(target) or runs.is_folder(target)):
        raise unknown("family or method", target, [*FAMILIES, *REFERENCES, *registry.LEARNERS])
    source = agents.resolve(target, family)
    agent: Any = source.load("id")
    return agent.double() if source.takes_steps else agent  # steps enlarge rounding
