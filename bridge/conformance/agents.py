"""The rules for an agent's card, decisions and side effects, one function each; see ``memories.py`` for its memory."""

from __future__ import annotations

import typing

import torch

from bridge import memory as tree
from bridge.conformance.probe import AgentProbe, Sitting, agent_rule, alike, play
from bridge.conformance.rules import demand, demand_rows, demand_within
from bridge.conformance.snapshot import changed, no_global_draws, other_python_noise, snapshot
from bridge.protocol import ClueKind, Decision, Trial, decodes
from bridge.tasks.base import Discrete, TaskFamily

VERBS = ("start", "begin", "act", "observe", "adapt")
_SUPERVISIONS = ("none", "reward", "histories", "optimal_actions", "prior")
_EXACTNESS = ("exact", "near", "heuristic")


# --- card and verbs ---------------------------------------------------------------------------------------------------


@agent_rule
def has_the_verbs(probe: AgentProbe) -> None:
    """An agent has a card and the verbs start, begin, act, observe and adapt."""
    missing = [name for name in ("card", *VERBS) if not hasattr(probe.agent, name)]
    demand(
        not missing,
        expected="a card and five verbs",
        found=f"no {', '.join(missing)}",
        remedy="Write them as in bridge.protocol.Agent; a verb with nothing to do returns its memory.",
    )


@agent_rule
def card_is_sane(probe: AgentProbe) -> None:
    """Every field of the card has a known value, and only references have ``exact_reference``."""
    card = probe.agent.card
    known = {
        "clue": typing.get_args(ClueKind),
        "supervision": _SUPERVISIONS,
        "exact_reference": _EXACTNESS if card.reference else ("",),
    }
    for name, values in known.items():
        found = getattr(card, name).partition(", ")[0]  # without the critic's own inputs
        demand(
            found in values,
            expected=f"card.{name} in {values}",
            found=repr(found),
            remedy="Choose one of them.",
        )
    demand(
        card.decode_rule == "rule" or decodes(card.decode_rule),
        expected="card.decode_rule sample, argmax, rule, or a temperature of 0 or more",
        found=repr(card.decode_rule),
        remedy="Name the way in which the agent draws its actions.",
    )
    demand(
        bool(card.method)
        and card.tuning_configs >= 1
        and 0 <= card.params_trained <= card.params_total,
        expected="a method's name, tuning_configs >= 1 and 0 <= params_trained <= params_total",
        found=card,
        remedy="Count all parameters, and of these the trained ones.",
    )


@agent_rule
def task_is_hidden(probe: AgentProbe) -> None:
    """A learned agent is never given the task itself; only references are."""
    card = probe.agent.card
    demand(
        card.clue != "task" or card.reference,
        expected="the clue nothing, id or text",
        found="task",
        remedy="Ask for another clue, or set card.reference=True if this agent is a yardstick.",
    )


@agent_rule
def memory_leads_with_rows(probe: AgentProbe) -> None:
    """Every leaf of a memory is a tensor that leads with the trials (a capacity is a shape, never a scalar)."""
    for rows in (probe.rows, probe.rows - 1):
        sitting = Sitting(probe, slice(0, rows))
        _leads(sitting, "start")
        for episode, steps in enumerate(tree.select(probe.context[:2], torch.arange(rows))):
            sitting.begin(episode)
            _leads(sitting, "begin")
            for step in steps:
                sitting.observe(step)
            _leads(sitting, "observe")
            sitting.adapt(episode)
            _leads(sitting, "adapt")


def _leads(sitting: Sitting, verb: str) -> None:
    remedy = "Give every row its own entry; keep constants in the agent and capacities in shapes."
    demand_rows(sitting.memory, len(sitting.noise), f"a memory after {verb}", remedy)


# --- decisions --------------------------------------------------------------------------------------------------------


@agent_rule
def decisions_fit(probe: AgentProbe) -> None:
    """Every action has the shape, dtype and range of the action space, and every logit or parameter is finite."""
    for explore in (True, False):
        play(Sitting(probe), explore=explore, check=_fits)


@agent_rule
def any_size_plays(probe: AgentProbe) -> None:
    """One row plays, and so does a trial of one episode or of one step, start to end."""
    for episodes in (probe.trial.episodes, 1):
        for horizon in (probe.trial.horizon, 1):
            for rows in (1, 2):
                play(Sitting(probe, slice(0, rows), Trial(episodes, horizon)), check=_fits)


def _fits(decision: Decision, family: TaskFamily, rows: int, episode: int, step: int) -> None:
    space, action, place = family.action, decision.action, {"episode": episode, "step": step}
    if isinstance(space, Discrete):
        kind, right = "int64", action.dtype == torch.int64
    else:
        kind, right = "floating point", action.is_floating_point()
    shape = (rows, *space.shape)
    demand(
        tuple(action.shape) == shape and right,
        expected=f"actions {kind} {shape}",
        found=f"{action.dtype} {tuple(action.shape)}",
        remedy="Decide once a row.",
        **place,
    )
    remedy = "Clip, or give the head the width of the action space."
    demand_within(space, action, "actions", remedy, **place)
    for name, values in (("logits", decision.logits), ("params", decision.params)):
        if values is None:
            continue
        shape = (rows, *values.shape[1:])
        if name == "logits" and isinstance(space, Discrete):
            shape = (rows, space.n)
        demand(
            tuple(values.shape) == shape,
            expected=f"{name} {shape}",
            found=tuple(values.shape),
            remedy="Return the distribution that the action was drawn from.",
            **place,
        )
        demand(
            values.isfinite(),
            expected=f"finite {name}",
            found=values,
            remedy="Look for an input that is not finite; mask an action with a large negative number.",
            **place,
        )


# --- side effects -----------------------------------------------------------------------------------------------------


@agent_rule
def noise_is_named(probe: AgentProbe) -> None:
    """All noise comes from the rows' own streams, none from a global generator of torch, numpy or python."""
    remedy = "Draw from the rng that each verb is given (bridge.rng.Rows)."
    with no_global_draws(remedy):
        played, _ = play(Sitting(probe))
    with other_python_noise():
        again, _ = play(Sitting(probe))
    alike(probe, again, played, f"It changes with python's random. {remedy}", exact=True)


@agent_rule
def runs_repeat(probe: AgentProbe) -> None:
    """The same trials played again are the same, bit for bit."""
    (first, _), (second, _) = play(Sitting(probe)), play(Sitting(probe))
    remedy = "Keep nothing between trials: no generator, no counter, no running mean."
    alike(probe, second, first, remedy, exact=True)


@agent_rule
def playing_changes_no_agent(probe: AgentProbe) -> None:
    """A trial changes no tensor, number, generator or mode of the agent; a cache may be filled."""
    before = snapshot(probe.agent)
    play(Sitting(probe))
    different = ", ".join(changed(before, snapshot(probe.agent)))
    demand(
        not different,
        expected="the agent as before the trial",
        found=f"another value of {different}",
        remedy="Keep all that a trial teaches in its memory.",
    )
