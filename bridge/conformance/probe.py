"""Probes of an agent: it plays, or is shown recorded steps, and its decision at every step is recorded.

Two ways to treat an agent are equivalent if the *decisions that follow* are the same; memories may differ (a cache may
have stale entries). Decisions of references are bitwise equal, logits of networks equal up to rounding.

Shape letters: B trials.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from bridge import memory as tree
from bridge.conformance.compare import per_row
from bridge.conformance.rules import demand, rule
from bridge.noise import TrialNoise
from bridge.play import clues, only, play_trial
from bridge.protocol import Decision, Step, Trial
from bridge.references.random import Random
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily, Tasks

_STEPS, _HORIZON, _EPISODES = 24, 16, 3  # enough for every rule, and quick
_TOLERANCE = {torch.float64: 1e-10}
_ROUNDED_ACTIONS = 0.05
"""Share of actions that may differ if logits are equal up to rounding, which may change a draw."""

Episodes = list[list[Step]]


@dataclass(frozen=True, eq=False)
class AgentProbe:
    """An agent, its tasks, and the tolerance of comparisons.

    Attributes:
        agent: the agent.
        family: its family.
        split: the split of its tasks.
        rows: trials in a batch.
        tolerance: tolerance of logits; None: 0 for references, 1e-5 in float32 and 1e-10 in float64 for others.
    """

    agent: Any
    family: TaskFamily
    split: str = "id"
    rows: int = 6
    tolerance: float | None = None

    def __str__(self) -> str:
        name = getattr(getattr(self.agent, "card", None), "method", type(self.agent).__name__)
        return f"{name} on {self.family.id}, split {self.split},"

    @cached_property
    def trial(self) -> Trial:
        """The family's trial, cut to some dozens of steps."""
        whole = self.family.trial(self.split)
        horizon = min(whole.horizon, _HORIZON)
        return Trial(min(whole.episodes, max(_EPISODES, _STEPS // horizon)), horizon)

    @cached_property
    def tasks(self) -> Tasks:
        """One task a row."""
        return self.family.sample(self.split, torch.arange(self.rows))

    @cached_property
    def noise(self) -> TrialNoise:
        """The noise of each row."""
        return TrialNoise.of("conformance", torch.arange(self.rows))

    @cached_property
    def context(self) -> Episodes:
        """Steps to show to agents: a trial of the random agent."""
        return play(Sitting(replace(self, agent=Random(self.family))))[1]

    def tolerance_of(self, values: Tensor) -> float:
        """The largest difference allowed between two values of the same decision."""
        if self.tolerance is not None:
            return self.tolerance
        return 0.0 if self.agent.card.reference else _TOLERANCE.get(values.dtype, 1e-5)


def agent_rule(check: Callable[[AgentProbe], None]) -> Callable[..., None]:
    """A rule as a function of an agent (or a function that makes one), a family and a split."""
    guarded = rule(check)

    @functools.wraps(check)
    def checked(
        agent: Any, family: TaskFamily, split: str = "id", *, tolerance: float | None = None
    ) -> None:
        made = agent() if callable(agent) and not hasattr(agent, "act") else agent
        guarded(AgentProbe(made, family, split, tolerance=tolerance))

    return checked


class Moment(NamedTuple):
    """A decision of every row, its episode and step; only decisions of ``live`` rows count."""

    episode: int
    step: int
    decision: Decision
    live: Bool[Tensor, " B"] | None


class Sitting:
    """An agent in the middle of trials: its memory, and the verbs with the evaluator's names for noise."""

    def __init__(
        self,
        probe: AgentProbe,
        index: Int[Tensor, " n"] | slice = slice(None),
        trial: Trial | None = None,
        noise: TrialNoise | None = None,
    ) -> None:
        self.probe, self.agent = probe, probe.agent
        self.trial = trial or probe.trial
        self.noise, self.tasks = (noise or probe.noise)[index], tree.select(probe.tasks, index)
        given = clues(self.agent, probe.family, probe.split, self.tasks)
        self.memory: Any = self.agent.start(given, self.trial, self.noise.agent.at("start"))

    def forked(self, copies: int = 1) -> Sitting:
        """The same trials once more (or ``copies`` times), with a fork of the memory."""
        twin = copy.copy(self)
        rows = torch.arange(len(self.noise)).repeat_interleave(copies)
        twin.noise, twin.tasks = self.noise[rows], tree.select(self.tasks, rows)
        twin.memory = tree.fork(self.memory, copies)
        return twin

    def begin(self, episode: int) -> None:
        """``begin``, before each episode."""
        rng = self.noise.agent.at(episode, "begin")
        self.memory = self.agent.begin(self.memory, rng, episode=episode)

    def decide(self, episode: int, t: int, obs: Tensor, aside: bool = False) -> Decision:
        """``act``; if ``aside``, on a fork of the memory that is then discarded."""
        memory = tree.fork(self.memory) if aside else self.memory
        return self.agent.act(memory, obs, self.noise.agent.at(episode, "act", t), explore=True)

    def observe(self, step: Step) -> None:
        """``observe``, within an episode."""
        self.memory = self.agent.observe(self.memory, step)

    def absorb(self, steps: list[Step]) -> None:
        """``absorb``, many steps in one call, for agents that have it."""
        self.memory = self.agent.absorb(self.memory, steps)

    def adapt(self, episode: int) -> None:
        """``adapt``, after each episode."""
        rng, last = self.noise.agent.at(episode, "adapt"), episode + 1 == self.trial.episodes
        self.memory = self.agent.adapt(self.memory, rng, episode=episode, last=last)


Check = Callable[[Decision, TaskFamily, int, int, int], None]
"""A check of a decision; arguments: the decision, the family, and the numbers of rows, episode and step."""


class _Recorder:
    """An agent that plays as that of a probe; decisions are checked, if there is a check, and recorded."""

    def __init__(self, probe: AgentProbe, explore: bool, check: Check | None) -> None:
        self.agent, self.family = probe.agent, probe.family
        self.explore, self.check = explore, check
        self.card, self.start, self.adapt = self.agent.card, self.agent.start, self.agent.adapt
        self.moments: list[Moment] = []
        self.episodes: Episodes = []

    def begin(self, memory: Any, rng: Rows, *, episode: int) -> Any:
        self.episodes.append([])
        return self.agent.begin(memory, rng, episode=episode)

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        self.decision = self.agent.act(memory, obs, rng, explore=self.explore)
        if self.check:
            episode, step = len(self.episodes) - 1, len(self.episodes[-1])
            self.check(self.decision, self.family, len(rng), episode, step)
        return self.decision

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        episode, steps = len(self.episodes) - 1, self.episodes[-1]
        self.moments.append(Moment(episode, len(steps), self.decision, step.live))
        steps.append(step)
        return self.agent.observe(memory, step, carry)


def play(
    sitting: Sitting, *, explore: bool = True, check: Check | None = None
) -> tuple[list[Moment], Episodes]:
    """Play whole trials as the evaluator does; returns all decisions and all transitions.

    Args:
        sitting: the agent at the start of its trials.
        explore: passed to ``act``.
        check: called with every decision before it is carried out.
    """
    probe, noise, trial = sitting.probe, sitting.noise, sitting.trial
    agent: Any = _Recorder(probe, explore, check)
    for played in play_trial(agent, probe.family, sitting.tasks, sitting.memory, noise, trial):
        sitting.memory = played.memory
    sitting.adapt(trial.episodes - 1)
    return agent.moments, agent.episodes


def follow(
    sitting: Sitting,
    episodes: Episodes,
    *,
    first: int = 0,
    aside: bool = False,
    halved: bool = False,
    cut: int = 0,
) -> list[Moment]:
    """Show recorded steps and return a decision before each; decisions do not change the steps.

    Args:
        sitting: the agent in its trials.
        episodes: the recorded steps.
        first: the number of the first of these episodes.
        aside: decide on a fork that is then discarded, so that the memory never acts.
        halved: show every step in two ``halves``.
        cut: steps of each episode that are absorbed at once, after the first decision and without others.
    """
    moments: list[Moment] = []
    for episode, steps in enumerate(episodes, start=first):
        sitting.begin(episode)
        for t, step in enumerate(steps):
            if 0 < t < cut:
                continue
            live = step.live if t else None  # every row decides in the first step
            moments.append(Moment(episode, t, sitting.decide(episode, t, step.obs, aside), live))
            if t < cut:
                sitting.absorb(steps[:cut])
            else:
                for part in halves(step) if halved else (step,):
                    sitting.observe(part)
        sitting.adapt(episode)
    return moments


def halves(step: Step) -> tuple[Step, Step]:
    """One step as two: even rows act while odd rows stand still, then the other way round."""
    even = torch.arange(len(step.reward)) % 2 == 0
    first, second = step.acted & even, step.acted & ~even
    return only(first, step, step.obs), only(second, step, step.next_obs)


def alike(
    probe: AgentProbe,
    found: Sequence[Moment],
    expected: Sequence[Moment],
    remedy: str,
    *,
    rows: Int[Tensor, " n"] | None = None,
    exact: bool = False,
) -> None:
    """Demand that two runs made the same decisions; row i of ``found`` is row ``rows[i]`` of ``expected``."""
    rounded, total = 0, 0
    for ours, theirs in zip(found, expected, strict=True):
        draws_may_differ = False
        for name in ("logits", "params", "action"):
            a, b = getattr(ours.decision, name), getattr(theirs.decision, name)
            if a is None and b is None:
                continue
            if rows is not None and b is not None:
                b = b[rows]
            tolerance = 0.0 if exact or a is None else probe.tolerance_of(a)
            bad = _unlike(a, b, tolerance, ours.live).nonzero().flatten().tolist()
            draws_may_differ |= name == "logits" and tolerance > 0  # equal up to rounding only
            if name == "action" and draws_may_differ:
                rounded, total = rounded + len(bad), total + len(a)
                if rounded <= max(1, _ROUNDED_ACTIONS * total):
                    continue
            for row in bad:
                demand(
                    False,
                    expected=f"{name} {_shown(b, row)}",
                    found=_shown(a, row),
                    remedy=remedy,
                    row=row if rows is None else int(rows[row]),
                    episode=ours.episode,
                    step=ours.step,
                )


def reacting(found: Sequence[Moment], expected: Sequence[Moment]) -> int:
    """The number of live rows that decided differently in some moment (logits if given, else actions)."""
    rows = torch.zeros(len(expected[0].decision.action), dtype=torch.bool)
    for ours, theirs in zip(found, expected, strict=True):
        name = "action" if ours.decision.logits is None else "logits"
        a, b = getattr(ours.decision, name), getattr(theirs.decision, name)
        rows |= _unlike(a, b, 0.0, ours.live)
    return int(rows.sum())


def _unlike(
    a: Tensor | None, b: Tensor | None, tolerance: float, live: Tensor | None
) -> Bool[Tensor, " B"]:
    """True for the live rows in which ``a`` and ``b`` differ by more than the tolerance (relative above 1)."""
    if a is None or b is None or a.shape != b.shape:
        return torch.ones(1, dtype=torch.bool)
    same = a == b
    if a.is_floating_point():
        same |= (a - b).abs() <= tolerance * b.abs().clamp(min=1.0)
    unlike = ~per_row(same)
    return unlike if live is None else unlike & live


def _shown(values: Tensor | None, row: int) -> str:
    return "nothing" if values is None else str(values[row].tolist())
