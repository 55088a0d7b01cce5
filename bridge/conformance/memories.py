"""The rules for an agent's memory, one function each: its writers, its rows, and its content."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bridge import memory as tree
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
)
from bridge.conformance.rules import demand, demand_same
from bridge.evaluation.policies import Doubts, Represents
from bridge.protocol import Step, Trial

_MANY_ROWS = 48
"""Rows for the rule about the last reward: a discrete action may stay the same in a few rows."""
_REACTING = 5
"""Rows in which decisions must change with a reward before the agent counts as reacting to it."""


# --- writers ----------------------------------------------------------------------------------------------------------


@agent_rule
def act_only_reads(probe: AgentProbe) -> None:
    """``act`` changes no leaf of the memory, and decides the same when called twice."""
    sitting = Sitting(probe)
    for episode, steps in enumerate(probe.context[:2]):
        sitting.begin(episode)
        for t, step in enumerate(steps):
            before, place = tree.fork(sitting.memory), {"episode": episode, "step": t}
            once, twice = (sitting.decide(episode, t, step.obs).action for _ in range(2))
            remedy = "Pass results of act to observe, as Decision.carry."
            demand_same(sitting.memory, before, "the memory as before act", remedy, **place)
            remedy = "Draw only from the rng that act is given."
            demand_same(twice, once, "the same action twice", remedy, **place)
            sitting.observe(step)
        sitting.adapt(episode)


@agent_rule
def represent_only_reads(probe: AgentProbe) -> None:
    """If an agent has ``represent``, it returns a vector for each trial, from that trial alone, and writes nothing."""
    if not isinstance(probe.agent, Represents):
        return
    sitting, (first, *_) = Sitting(probe), probe.context
    follow(sitting, [first])
    sitting.begin(1)
    before, obs, rows = tree.fork(sitting.memory), first[0].obs, len(sitting.noise)
    state = probe.agent.represent(sitting.memory, obs)
    if state is None:
        return
    demand(
        state.dim() == 2 and len(state) == rows and bool(state.isfinite().all()),
        expected=f"finite states ({rows}, features)",
        found=f"{tuple(state.shape)}, {int((~state.isfinite()).sum())} of them not finite",
        remedy="Return a vector for each trial.",
    )
    demand_same(sitting.memory, before, "the memory as before represent", "Only read the memory.")
    alone = probe.agent.represent(tree.select(sitting.memory, slice(0, 1)), obs[:1])
    demand(
        alone is not None and torch.allclose(alone, state[:1], rtol=1e-4, atol=1e-5),
        expected="the state of a trial alone to be its state among others",
        found="another one",
        remedy="Compute each row from that row alone.",
        row=0,
    )


@agent_rule
def misfit_only_reads(probe: AgentProbe) -> None:
    """If an agent has ``misfit``, it returns a number for each trial, from that trial alone, and writes nothing."""
    if not isinstance(probe.agent, Doubts):
        return
    sitting = Sitting(probe)
    follow(sitting, probe.context)
    before, rows = tree.fork(sitting.memory), len(sitting.noise)
    found = probe.agent.misfit(sitting.memory)
    demand(
        found.shape == (rows,) and bool(found.isfinite().all()),
        expected=f"{rows} finite numbers",
        found=f"{tuple(found.shape)}, {int((~found.isfinite()).sum())} of them not finite",
        remedy="Return a number for each trial.",
    )
    demand_same(sitting.memory, before, "the memory as before misfit", "Only read the memory.")
    alone = probe.agent.misfit(tree.select(sitting.memory, slice(0, 1)))
    demand(
        torch.allclose(alone, found[:1], rtol=1e-3, atol=1e-4),
        expected="the misfit of a trial alone to be its misfit among others",
        found="another one",
        remedy="Compute each row from that row alone.",
        row=0,
    )


@agent_rule
def shown_is_played(probe: AgentProbe) -> None:
    """A memory that was shown a context (begin and observe, never act) decides as one that played it."""
    played, episodes = play(Sitting(probe))
    shown = follow(Sitting(probe), episodes, aside=True)
    remedy = "Let observe alone write transitions; act may only precompute, as carry."
    alike(probe, shown, played, remedy)


@agent_rule
def carry_is_a_cache(probe: AgentProbe) -> None:
    """With ``act``'s carry given to ``observe`` or without it, the decisions that follow are the same."""
    with_carry, episodes = play(Sitting(probe))
    without = follow(Sitting(probe), episodes)
    alike(probe, without, with_carry, "Let observe compute the content of carry if it is None.")


@agent_rule
def absorb_is_observe(probe: AgentProbe) -> None:
    """If an agent has ``absorb``, showing it many steps at once equals observing them one by one."""
    if not hasattr(probe.agent, "absorb"):
        return
    some_dead = [[half for step in steps for half in halves(step)] for steps in probe.context]
    for episodes in (probe.context, some_dead):
        longest = max(map(len, episodes))
        one_by_one = follow(Sitting(probe), episodes)
        for cut in sorted({1, longest // 2 or 1, longest}):
            decided = [moment for moment in one_by_one if moment.step == 0 or moment.step >= cut]
            remedy = f"absorb of {cut} steps must write the same as {cut} calls of observe."
            alike(probe, follow(Sitting(probe), episodes, cut=cut), decided, remedy)


# --- rows -------------------------------------------------------------------------------------------------------------


@agent_rule
def fork_is_a_copy(probe: AgentProbe) -> None:
    """A fork that goes on decides as if never forked, and nothing that a fork does changes the original."""
    remedy = (
        "Keep the whole state of a trial in tensors of its memory, never in a field of the agent."
    )
    half = len(probe.context) // 2
    before, after = probe.context[:half], probe.context[half:]
    whole = follow(Sitting(probe), probe.context)
    never_forked = [moment for moment in whole if moment.episode >= half]
    sitting = Sitting(probe)
    follow(sitting, before)
    stranger, twins = sitting.forked(), sitting.forked(copies=2)
    follow(stranger, _exchanged(after), first=half)
    alike(probe, follow(sitting, after, first=half), never_forked, remedy)
    rows = torch.arange(probe.rows).repeat_interleave(2)
    alike(
        probe, follow(twins, tree.select(after, rows), first=half), never_forked, remedy, rows=rows
    )


def _exchanged(episodes: Episodes) -> Episodes:
    """The same episodes with every reward and action taken from the next row."""

    def exchanged(step: Step) -> Step:
        return step._replace(reward=step.reward.roll(1, 0), action=step.action.roll(1, 0))

    return [list(map(exchanged, steps)) for steps in episodes]


@agent_rule
def rows_are_independent(probe: AgentProbe) -> None:
    """Row b decides the same alone, in any batch, in any order."""
    whole = follow(Sitting(probe), probe.context)
    last = probe.rows - 1
    remedy = "Let no operation mix rows: no batch statistics, no scalar that one row sets for all, one rng a row."
    for index in ([0], [last], list(range(last, -1, -1)), [last // 2, last]):
        rows = torch.tensor(index)
        alone = follow(Sitting(probe, rows), tree.select(probe.context, rows))
        alike(probe, alone, whole, remedy, rows=rows)


@agent_rule
def dead_rows_change_nothing(probe: AgentProbe) -> None:
    """A step with live=False does not change its row, while the live rows go on."""
    expected = follow(Sitting(probe), probe.context)
    found = follow(Sitting(probe), probe.context, halved=True)
    alike(probe, found, expected, "End observe with bridge.memory.where(step.live, new, old).")


# --- content ----------------------------------------------------------------------------------------------------------


@agent_rule
def last_reward_is_kept(probe: AgentProbe) -> None:
    """The reward that ends an episode is in memory before the next one begins, if the reward a step earlier is."""
    many = replace(probe, rows=_MANY_ROWS)
    episodes = many.context if many.trial.horizon > 1 else _paired(many.context)
    if len(episodes) < 2:
        return
    trial = Trial(len(episodes), max(map(len, episodes)))
    shown, last, earlier = (
        _openings(Sitting(many, trial=trial), [*episodes[:-2], steps, episodes[-1]])
        for steps in (episodes[-2], *_other_rewards(episodes))
    )
    demand(
        reacting(earlier, shown) < _REACTING or reacting(last, shown) > 0,
        expected="decisions that change with the reward that ended the last episode, as with the reward a step earlier",
        found="none",
        episode=len(episodes) - 1,
        step=0,
        remedy="Do not clear the last reward at the start of an episode: it comes with the first observation.",
    )


def _openings(sitting: Sitting, episodes: Episodes) -> list[Moment]:
    """The first decision of the last episode if it has logits; else all, as single actions may stay the same."""
    inside = [moment for moment in follow(sitting, episodes) if moment.episode + 1 == len(episodes)]
    return inside if inside[0].decision.logits is None else inside[:1]


def _paired(episodes: Episodes) -> Episodes:
    """Pairs of one-step episodes as episodes of two steps, so that there is a reward before the last one."""
    never = torch.zeros_like(episodes[0][0].terminated)
    unended = [steps[0]._replace(terminated=never, truncated=never) for steps in episodes[::2]]
    return [[first, steps[0]] for first, steps in zip(unended, episodes[1::2], strict=False)]


def _other_rewards(episodes: Episodes) -> tuple[list[Step], list[Step]]:
    """The last episode but one with another last reward in every row, and with another reward a step earlier.

    The other reward is the lowest or the highest of all episodes, whichever is farther.
    """
    rewards = torch.stack([step.reward for steps in episodes for step in steps])
    low, high = rewards.min(), rewards.max()
    high = torch.where(high > low, high, low + 1)

    def other(step: Step, rows: Tensor) -> Step:
        reward = torch.where(step.reward - low < high - step.reward, high, low)
        return step._replace(reward=torch.where(rows, reward, step.reward))

    steps = episodes[-2]
    ends = [step.terminated | step.truncated for step in steps]
    before = [*ends[1:], ends[0] & False]
    return list(map(other, steps, ends)), list(map(other, steps, before))
