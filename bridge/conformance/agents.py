"""The rules for what an agent is, decides and may touch, one function each. What it remembers: see ``memories.py``."""

from __future__ import annotations

import typing

import torch
from torch import Tensor

from bridge import memory as tree
from bridge.conformance.probe import AgentProbe, Sitting, agent_rule, alike, play, rows_of
from bridge.conformance.rules import demand, space_bounds
from bridge.conformance.snapshot import changed, global_noise, other_python_noise, snapshot
from bridge.protocol import ClueKind, Decision, Trial, decodes
from bridge.tasks.base import Discrete, TaskFamily

VERBS = ("start", "begin", "act", "observe", "adapt")
_SUPERVISIONS = ("none", "reward", "histories", "optimal_actions", "prior")
_EXACTNESS = ("exact", "near", "heuristic")


# --- what an agent is -------------------------------------------------------------------------------------------------


@agent_rule
def has_the_verbs(probe: AgentProbe) -> None:
    """An agent has a card and the verbs start, begin, act, observe and adapt."""
    missing = [name for name in ("card", *VERBS) if not hasattr(probe.agent, name)]
    remedy = (
        "Write them as bridge.protocol.Agent does; a verb with nothing to do returns its memory."
    )
    demand(
        not missing,
        expected="a card and five verbs",
        found=f"none called {', '.join(missing)}",
        remedy=remedy,
    )


@agent_rule
def card_is_sane(probe: AgentProbe) -> None:
    """Every field of the card has a value that results know, and references alone say how exact they are."""
    card = probe.agent.card
    known = {
        "clue": typing.get_args(ClueKind),
        "supervision": _SUPERVISIONS,
        "exact_reference": _EXACTNESS if card.reference else ("",),
    }
    for name, values in known.items():
        found = getattr(card, name).partition(", ")[0]  # what more the critic saw
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
        remedy="Say how the agent draws its actions.",
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
    """A learned agent is never told the task itself; only references are."""
    card = probe.agent.card
    remedy = "Ask for another clue, or set card.reference=True if this agent is a yardstick."
    demand(
        card.clue != "task" or card.reference,
        expected="the clue nothing, id or text",
        found="task",
        remedy=remedy,
    )


@agent_rule
def memory_leads_with_rows(probe: AgentProbe) -> None:
    """Every leaf of a memory is a tensor that leads with the trials (a capacity is a shape, never a scalar)."""
    for rows in (probe.rows, probe.rows - 1):
        sitting = Sitting(probe, slice(0, rows))
        _leads(sitting.memory, rows, "start")
        for episode, steps in enumerate(rows_of(probe.context[:2], torch.arange(rows))):
            sitting.begin(episode)
            _leads(sitting.memory, rows, "begin")
            for step in steps:
                sitting.observe(step)
            _leads(sitting.memory, rows, "observe")
            sitting.adapt(episode)
            _leads(sitting.memory, rows, "adapt")


def _leads(memory: object, rows: int, verb: str) -> None:
    for leaf in tree.leaves(memory):
        tensor = isinstance(leaf, Tensor)
        demand(
            tensor and leaf.dim() > 0 and len(leaf) == rows,
            expected=f"leaves of shape [{rows}, ...] after {verb}",
            found=f"a tensor of shape {tuple(leaf.shape)}"
            if tensor
            else f"{type(leaf).__name__} {leaf!r}",
            remedy="Give every row its own entry; keep constants in the agent and capacities in shapes.",
        )


# --- what it decides --------------------------------------------------------------------------------------------------


@agent_rule
def decisions_fit(probe: AgentProbe) -> None:
    """Every action has the shape, dtype and range of the action space, and every logit or parameter is finite."""
    for explore in (True, False):
        play(_Looked(probe), explore=explore)


@agent_rule
def any_size_plays(probe: AgentProbe) -> None:
    """One row plays, and so does a trial of one episode or of one step, start to end."""
    for trial in (
        probe.trial,
        Trial(1, probe.trial.horizon),
        Trial(probe.trial.episodes, 1),
        Trial(1, 1),
    ):
        for rows in (1, 2):
            play(_Looked(probe, slice(0, rows), trial))


class _Looked(Sitting):
    """A sitting whose every decision is looked at before it is carried out."""

    def decide(
        self, episode: int, t: int, obs: Tensor, *, aside: bool = False, explore: bool = True
    ) -> Decision:
        decision = super().decide(episode, t, obs, aside=aside, explore=explore)
        _fits(decision, self.probe.family, len(self.noise), {"episode": episode, "step": t})
        return decision


def _fits(decision: Decision, family: TaskFamily, rows: int, place: dict[str, int]) -> None:
    space, action = family.action, decision.action
    discrete = isinstance(space, Discrete)
    low, high = space_bounds(space, action.dtype)
    shape = (rows, *low.shape)
    demand(
        tuple(action.shape) == shape
        and (action.dtype == torch.int64 if discrete else action.is_floating_point()),
        expected=f"actions {'int64' if discrete else 'floating point'} {shape}",
        found=f"{action.dtype} {tuple(action.shape)}",
        remedy="Decide once a row.",
        **place,
    )
    demand(
        (action >= low) & (action <= high),
        expected=f"actions from {low.tolist()} to {high.tolist()}",
        found=action,
        remedy="Clip, or give the head the width of the action space.",
        **place,
    )
    for name, values in (("logits", decision.logits), ("params", decision.params)):
        if values is None:
            continue
        want = (
            (rows, space.n)
            if name == "logits" and isinstance(space, Discrete)
            else (rows, *values.shape[1:])
        )
        found = tuple(values.shape)
        demand(
            found == want,
            expected=f"{name} {want}",
            found=found,
            remedy="Return what was drawn from.",
            **place,
        )
        remedy = (
            "Look for an input that is not finite; mask an action with a large negative number."
        )
        demand(values.isfinite(), expected=f"finite {name}", found=values, remedy=remedy, **place)


# --- what it may touch ------------------------------------------------------------------------------------------------


@agent_rule
def noise_is_named(probe: AgentProbe) -> None:
    """All noise comes from the rows' own streams, none from a global generator of torch, numpy or python."""
    remedy = "Draw from the rng that each verb is given (bridge.rng.Rows)."
    before = global_noise()
    played, _ = play(Sitting(probe))
    moved = ", ".join(name for name, state in global_noise().items() if state != before[name])
    demand(
        not moved,
        expected="generators that stand still",
        found=f"draws from that of {moved}",
        remedy=remedy,
    )
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
    """No tensor, number, generator or mode of the agent is another one after a trial; a cache may be filled."""
    before = snapshot(probe.agent)
    play(Sitting(probe))
    different = ", ".join(changed(before, snapshot(probe.agent)))
    remedy = "What a trial teaches belongs in its memory."
    demand(
        not different,
        expected="the agent as it was",
        found=f"another value of {different}",
        remedy=remedy,
    )
