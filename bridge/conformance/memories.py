"""The rules for what an agent remembers, one function each: who writes it, whose it is, and what must be in it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bridge import memory as tree
from bridge.conformance.compare import same_bits
from bridge.conformance.probe import (
    AgentProbe,
    Episodes,
    Moment,
    Sitting,
    agent_rule,
    alike,
    follow,
    halves,
    play,
    reacting,
    rows_of,
)
from bridge.conformance.rules import demand
from bridge.protocol import Step, Trial

_MANY_ROWS = 48
"""Rows for the rule that asks whether anything reacts: a discrete action may keep still in a few."""
_REACTING = 5
"""In so many of these rows an agent must react to a reward before it is said to react."""


# --- who writes it ----------------------------------------------------------------------------------------------------


@agent_rule
def act_only_reads(probe: AgentProbe) -> None:
    """``act`` changes no leaf of the memory, and asked twice it decides the same."""
    sitting = Sitting(probe)
    for episode, steps in enumerate(probe.context[:2]):
        sitting.begin(episode)
        for t, step in enumerate(steps):
            before = tree.fork(sitting.memory)
            once, twice = (sitting.decide(episode, t, step.obs) for _ in range(2))
            place = {"episode": episode, "step": t}
            for old, new in zip(tree.leaves(before), tree.leaves(sitting.memory), strict=True):
                remedy = "Hand what act computed to observe, as Decision.carry."
                demand(
                    same_bits(old, new),
                    expected="the memory from before act",
                    found=new,
                    remedy=remedy,
                    **place,
                )
            same, remedy = once.action == twice.action, "Draw only from the rng that act is given."
            demand(
                same, expected="the same action twice", found=twice.action, remedy=remedy, **place
            )
            sitting.observe(step)
        sitting.adapt(episode)


@agent_rule
def shown_is_played(probe: AgentProbe) -> None:
    """A memory that was shown a context (begin and observe, never act) decides as one that played it."""
    played, episodes = play(Sitting(probe))
    shown = follow(Sitting(probe), episodes, aside=True)
    alike(
        probe,
        shown,
        played,
        "Let observe alone write what was done; act may only compute it ahead, as carry.",
    )


@agent_rule
def carry_is_a_cache(probe: AgentProbe) -> None:
    """With ``act``'s carry handed to ``observe`` or without it, the decisions that follow are the same."""
    with_carry, episodes = play(Sitting(probe))
    without = follow(Sitting(probe), episodes)
    alike(
        probe,
        without,
        with_carry,
        "Let observe compute what carry would have held when it is None.",
    )


@agent_rule
def absorb_is_observe(probe: AgentProbe) -> None:
    """Where an agent has ``absorb``, showing it many steps at once equals observing them one by one."""
    if not hasattr(probe.agent, "absorb"):
        return
    some_dead = [[half for step in steps for half in halves(step)] for steps in probe.context]
    for episodes in (probe.context, some_dead):
        longest = max(map(len, episodes))
        for cut in sorted({1, longest // 2 or 1, longest}):
            one_by_one, at_once = (
                _after(cut, Sitting(probe), episodes, absorb) for absorb in (False, True)
            )
            alike(
                probe,
                at_once,
                one_by_one,
                f"absorb of {cut} steps must write what as many observe calls write.",
            )


def _after(cut: int, sitting: Sitting, episodes: Episodes, absorb: bool) -> list[Moment]:
    """Decide first thing in each episode, show its first ``cut`` steps (perhaps at once), then go on step by step."""
    moments = []
    for episode, steps in enumerate(episodes):
        sitting.begin(episode)
        moments.append(Moment(episode, 0, sitting.decide(episode, 0, steps[0].obs), None))
        if absorb:
            sitting.absorb(steps[:cut])
        else:
            for step in steps[:cut]:
                sitting.observe(step)
        for t, step in enumerate(steps[cut:], start=cut):
            moments.append(Moment(episode, t, sitting.decide(episode, t, step.obs), step.live))
            sitting.observe(step)
        sitting.adapt(episode)
    return moments


# --- whose it is ------------------------------------------------------------------------------------------------------


@agent_rule
def fork_is_a_copy(probe: AgentProbe) -> None:
    """A fork that goes on decides as if never forked, and whatever a fork does leaves the original as it was."""
    remedy = (
        "Keep all that is known of a trial in tensors of its memory, never in a field of the agent."
    )
    half = len(probe.context) // 2
    before, after = probe.context[:half], probe.context[half:]
    never_forked = [
        moment for moment in follow(Sitting(probe), probe.context) if moment.episode >= half
    ]
    sitting = Sitting(probe)
    follow(sitting, before)
    stranger, twins = sitting.forked(), sitting.forked(copies=2)
    follow(stranger, _exchanged(after), first=half)
    alike(probe, follow(sitting, after, first=half), never_forked, remedy)
    rows = torch.arange(probe.rows).repeat_interleave(2)
    alike(probe, follow(twins, rows_of(after, rows), first=half), never_forked, remedy, rows=rows)


def _exchanged(episodes: Episodes) -> Episodes:
    """The same episodes with every reward and action taken from the next row."""
    return [
        [s._replace(reward=s.reward.roll(1, 0), action=s.action.roll(1, 0)) for s in steps]
        for steps in episodes
    ]


@agent_rule
def rows_are_independent(probe: AgentProbe) -> None:
    """Row b decides the same alone, in any batch, in any order."""
    whole = follow(Sitting(probe), probe.context)
    last = probe.rows - 1
    remedy = "Let no operation mix rows: no batch statistics, no scalar that one row sets for all, one rng a row."
    for index in ([0], [last], list(range(last, -1, -1)), [last // 2, last]):
        rows = torch.tensor(index)
        alike(
            probe,
            follow(Sitting(probe, rows), rows_of(probe.context, rows)),
            whole,
            remedy,
            rows=rows,
        )


@agent_rule
def dead_rows_change_nothing(probe: AgentProbe) -> None:
    """A step with live=False leaves its row as if the step had not been, while the live rows go on."""
    expected, found = (
        follow(Sitting(probe), probe.context, halved=halved) for halved in (False, True)
    )
    alike(probe, found, expected, "End observe with bridge.memory.where(step.live, new, old).")


# --- what must be in it -----------------------------------------------------------------------------------------------


@agent_rule
def last_reward_is_kept(probe: AgentProbe) -> None:
    """The reward that ends an episode is in memory before the next one begins, if the reward a step earlier is."""
    many = replace(probe, rows=_MANY_ROWS)
    episodes = many.context if many.trial.horizon > 1 else _paired(many.context)
    if len(episodes) < 2:
        return
    trial = Trial(len(episodes), max(map(len, episodes)))
    shown, last, earlier = (
        _openings(Sitting(many, trial=trial), [*episodes[:-2], steps, *episodes[-1:]])
        for steps in (episodes[-2], *_paid_otherwise(episodes))
    )
    demand(
        reacting(earlier, shown) < _REACTING or reacting(last, shown) > 0,
        expected="decisions that change with the reward that ended the last episode, as with the reward a step earlier",
        found="none that does",
        episode=len(episodes) - 1,
        step=0,
        remedy="Do not clear the last reward at the start of an episode: it comes with the first observation.",
    )


def _openings(sitting: Sitting, episodes: Episodes) -> list[Moment]:
    """What an agent with logits decides first in the last episode; all of it from others: actions may keep still."""
    inside = [moment for moment in follow(sitting, episodes) if moment.episode + 1 == len(episodes)]
    return inside if inside[0].decision.logits is None else inside[:1]


def _paired(episodes: Episodes) -> Episodes:
    """Two episodes of one step each as one of two: only then is there a reward a step before the last."""
    never = torch.zeros_like(episodes[0][0].terminated)
    unended = [steps[0]._replace(terminated=never, truncated=never) for steps in episodes[::2]]
    return [[first, steps[0]] for first, steps in zip(unended, episodes[1::2], strict=False)]


def _paid_otherwise(episodes: Episodes) -> Episodes:
    """The last episode but one, twice: with another last reward in every row, and with another one a step earlier.

    The other reward is the lowest or highest of all that were seen, whichever is farther.
    """
    rewards = torch.stack([step.reward for steps in episodes for step in steps])
    low, high = rewards.min(), rewards.max()
    high = torch.where(high > low, high, low + 1)

    def paid_otherwise(step: Step, where: Tensor) -> Step:
        other = torch.where(step.reward - low < high - step.reward, high, low)
        return step._replace(reward=torch.where(where, other, step.reward))

    steps = episodes[-2]
    ends = [step.terminated | step.truncated for step in steps]
    before = [*ends[1:], ends[0] & False]
    return [
        [paid_otherwise(*pair) for pair in zip(steps, where, strict=True)]
        for where in (ends, before)
    ]
