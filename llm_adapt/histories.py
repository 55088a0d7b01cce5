"""Learning histories: the transitions of learners on tasks of a split from their first step on, with optimal labels.

A source is an agent, a reference or a trained one, that knows no more of a task than its history shows. A policy that
imitates an agent that knew more takes its own guesses for evidence (Ortega et al. 2021, arXiv 2110.10819). Each step
also has a query state, drawn at random, and the informed oracle's action in it. So the same histories serve algorithm
distillation, whose labels are the source's actions, and decision pretraining, whose labels are the best ones.

Shape letters: B trials, T steps of the longest trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from bridge import memory
from bridge.errors import UserError
from bridge.noise import TrialNoise
from bridge.play import clue_given, record_context
from bridge.protocol import Agent, Clues, Step, Trial
from bridge.references.registry import REFERENCES, reference
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import TaskFamily, Tasks
from bridge.tasks.perception import Senses, observed
from bridge.test_time.trial_buffer import TrialBuffer, live_first
from bridge.training.rollouts import task_numbers
from bridge.transitions import stacked
from llm_adapt.tokens import Transition


class Histories(NamedTuple):
    """Whole trials: their live steps, then zeros up to the length of the longest."""

    steps: Transition
    """``[B, T, ...]``; ``end`` is 1 where a step ended its episode."""
    asked: Tensor
    """A query state for each step, drawn uniformly from all states that these trials reached, ``[B, T, ...]``."""
    best: Tensor
    """The oracle's action there, with as many steps left as at this step, ``[B, T, ...]``."""
    length: Int[Tensor, " B"]
    """Number of live steps."""

    def at(self, places: Int[Tensor, "B T"], length: Int[Tensor, " B"]) -> Histories:
        """The steps at ``places`` of each row: the first ``length`` of them, then zeros."""
        parts = memory.places(self[:-1], places)
        beyond = torch.arange(places.shape[1], device=places.device) >= length[:, None]
        for part in memory.leaves(parts):
            part[beyond] = 0
        return Histories(*parts, length)


class _Played(NamedTuple):
    """The trials of one source."""

    tasks: Tasks
    noise: TrialNoise
    episodes: list[list[Step]]
    """The steps as they are."""
    steps: TrialBuffer
    """The steps of all episodes as the source observed them, ``[B, T, ...]``."""


@torch.no_grad()
def play(
    sources: Sequence[Agent], family: TaskFamily, trial: Trial, noise: TrialNoise, split: str
) -> Histories:
    """Play a trial on a task of ``split`` for each row of ``noise``, which names both; rows take the sources in turn.

    Raises:
        UserError: a source is given the task, or its id.
    """
    for source in sources:
        if (clue := clue_given(source.card, family, split)) != "nothing":
            raise UserError(
                f"{source.card.method} is given the task ({clue}), and no policy can imitate what depends on more than "
                "it reads. Choose a source that is given nothing."
            )
    tasks = family.sample(split, task_numbers(noise))
    rows = torch.arange(len(noise), device=noise.device)
    groups = [rows[rows % len(sources) == number] for number in range(min(len(sources), len(rows)))]
    played = []
    for source, group in zip(sources, groups, strict=False):
        mine = memory.select(tasks, group)
        episodes = record_context(source, family, split, mine, noise[group], trial)
        seen = [
            observed(steps, family, *_senses(family, mine, noise[group], number))
            for number, steps in enumerate(episodes)
        ]
        steps = stacked([step for steps in seen for step in steps])
        played.append(_Played(mine, noise[group], episodes, steps))
    states = torch.cat(
        [step.obs[step.acted] for each in played for steps in each.episodes for step in steps]
    )
    states = states.unique(dim=0)
    longest = max(int(each.steps.live.sum(1).max()) for each in played)
    found = memory.joined(
        [_labelled(family, split, trial, each, states, longest) for each in played]
    )
    return memory.select(found, torch.cat(groups).argsort())


def one_episode(histories: Histories, noise: Rows) -> Histories:
    """One episode of each history, drawn by ``noise``, as a history of its own."""
    end = histories.steps.end > 0
    number = end.long().cumsum(1) - end.long()  # of each step's episode
    inside = torch.arange(end.shape[1]) < histories.length[:, None]
    last = number.gather(1, histories.length[:, None] - 1)
    chosen = (noise.uniform()[:, None] * (last + 1)).long()
    mine = (number == chosen) & inside
    length = mine.sum(1)
    places = mine.long().argmax(1, keepdim=True) + torch.arange(int(length.max()))
    return histories.at(places.clamp(max=end.shape[1] - 1), length)


def as_trials(histories: Histories, trial: Trial) -> TrialBuffer:
    """The buffer of whole trials, by episode, of some histories. Every end counts as a time-out."""
    steps = histories.steps
    end = steps.end > 0
    there = torch.arange(end.shape[1]) < histories.length[:, None]
    number = end.long().cumsum(1) - end.long()  # of each step's episode
    first = torch.nn.functional.pad(end[:, :-1], (1, 0), value=True)
    t = torch.arange(end.shape[1]).expand_as(number)
    t = t - torch.where(first, t, 0).cummax(1).values
    rows = there.nonzero()[:, 0]
    spot = (rows, number[there], t[there])

    def placed(values: Tensor) -> Tensor:
        found = values.new_zeros(len(values), *trial, *values.shape[2:])
        found[spot] = values[there]
        return found

    never = torch.zeros(len(end), *trial, dtype=torch.bool)
    live = never.clone()
    live[spot] = True
    obs, action, reward, next_obs = map(placed, steps[:4])
    return TrialBuffer(obs, action, reward, next_obs, never, placed(end), live)


def default_sources(method: str, family: TaskFamily) -> tuple[str, ...]:
    """The sources of a method's histories if none are named.

    Algorithm distillation has a learner to imitate. Sources of decision pretraining should know little: the actions of
    a good learner reveal the best one more plainly than its rewards do, and a policy that has learned to read that in
    actions believes its own. So the source is random play on bandits; where rewards are hard to reach, a learner, too.
    """
    learner = next(name for name in ("thompson", "psrl", "random") if _plays(name, family))
    blind = "skewed" if _plays("skewed", family) else "random"
    if method == "icl_ad":
        return (learner,)
    return (blind,) if isinstance(family, Bandit) else (blind, learner)


def _plays(name: str, family: TaskFamily) -> bool:
    return any(isinstance(family, kind) for kind in REFERENCES[name])


def _senses(
    family: TaskFamily, tasks: Tasks, noise: TrialNoise, episode: int
) -> tuple[Tasks, Rows]:
    """The task of each trial in an episode, and the noise of what is observed of it."""
    return family.task_of(tasks, episode), noise.env.at("env", episode, "senses")


def _labelled(
    family: TaskFamily,
    split: str,
    trial: Trial,
    played: _Played,
    states: Tensor,
    longest: int,
) -> Histories:
    """The trials of one source, with the oracle's actions in states drawn from ``states``, as ``longest`` steps.

    The oracle observes the states as they are, and the histories hold them as their trial observes them.
    """
    oracle, noise = reference("oracle", family, split), played.noise
    start = oracle.start(Clues(task=played.tasks), trial, noise.agent.at("oracle"))
    asked, best = [], []
    for number, steps in enumerate(played.episodes):
        senses = Senses.of(family, *_senses(family, played.tasks, noise, number))
        known = oracle.begin(start, noise.agent.at("oracle", number), episode=number)
        for t, step in enumerate(steps):
            state = states[noise.env.at("asked", number, t).integers(len(states))]
            decision = oracle.act(known, state, noise.agent.at("oracle", number, t), explore=True)
            seen = senses.look(state, noise.env.at("asked/seen", number, t)) if senses else state
            asked.append(seen)
            best.append(decision.action)
            known = oracle.observe(known, step)
    length, order = played.steps.live.sum(1), live_first(played.steps.live)
    places = order[:, torch.arange(longest, device=order.device).clamp(max=order.shape[1] - 1)]
    steps = Transition.of(played.steps)
    return Histories(steps, torch.stack(asked, 1), torch.stack(best, 1), length).at(places, length)
