"""Learning histories: what learners did on tasks of a split from their first step on, and what would have been best.

A source is an agent, a reference or a trained one, that knows no more of a task than its history shows. It must not: an
agent that imitates somebody who knew more takes its own guesses for evidence (Ortega et al. 2021, arXiv 2110.10819).
Beside each step stand a state drawn at random and the informed oracle's action in it: the same histories serve
algorithm distillation, which learns what the source did, and decision pretraining: what is best.

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
from bridge.test_time.trial_buffer import live_first
from bridge.training.rollouts import task_numbers
from llm_adapt.tokens import Transition


class Histories(NamedTuple):
    """Whole trials: their live steps, then zeros up to the length of the longest."""

    steps: Transition
    """``[B, T, ...]``; ``end`` is 1 where a step ended its episode."""
    asked: Tensor
    """A state to be asked about at each step, drawn evenly from all that these trials came to, ``[B, T, ...]``."""
    best: Tensor
    """The oracle's action there, with as many steps left as at this step, ``[B, T, ...]``."""
    length: Int[Tensor, " B"]
    """Live steps."""


@torch.no_grad()
def play(
    sources: Sequence[Agent], family: TaskFamily, trial: Trial, noise: TrialNoise, split: str
) -> Histories:
    """A trial on a task of ``split`` for each row of ``noise``, which names both; rows take the sources in turn.

    Raises:
        UserError: a source is told the task, or its number.
    """
    for source in sources:
        if (clue := clue_given(source.card, family, split)) != "nothing":
            raise UserError(
                f"{source.card.method} is told the task ({clue}), and nobody can imitate what he cannot know. Take one "
                "who is told nothing."
            )
    tasks = family.sample(split, task_numbers(noise))
    rows = torch.arange(len(noise), device=noise.device)
    groups = [rows[rows % len(sources) == number] for number in range(min(len(sources), len(rows)))]
    played = [
        record_context(source, family, split, memory.select(tasks, mine), noise[mine], trial)
        for source, mine in zip(sources, groups, strict=False)
    ]
    states = torch.cat(
        [step.obs[_live(step)] for episodes in played for steps in episodes for step in steps]
    )
    states = states.unique(dim=0)
    parts = [
        _labelled(family, split, trial, memory.select(tasks, mine), episodes, states, noise[mine])
        for mine, episodes in zip(groups, played, strict=True)
    ]
    longest = max(int(part.length.max()) for part in parts)
    found = [_padded(part, longest) for part in parts]
    order = torch.cat(groups).argsort()
    steps = Transition(
        *(
            torch.cat(columns)[order]
            for columns in zip(*(part.steps for part in found), strict=True)
        )
    )
    return Histories(
        steps,
        *(torch.cat(columns)[order] for columns in zip(*(part[1:] for part in found), strict=True)),
    )


def one_episode(histories: Histories, noise: Rows) -> Histories:
    """An episode of each, whichever ``noise`` says, as a history of its own."""
    end = histories.steps.end > 0
    number = end.long().cumsum(1) - end.long()  # of the episode that a step is of
    inside = torch.arange(end.shape[1]) < histories.length[:, None]
    last = number.gather(1, histories.length[:, None] - 1)
    chosen = (noise.uniform()[:, None] * (last + 1)).long()
    mine = (number == chosen) & inside
    length = mine.sum(1)
    row, at = (
        torch.arange(len(end))[:, None],
        mine.long().argmax(1, keepdim=True) + torch.arange(int(length.max())),
    )
    beyond = torch.arange(at.shape[1]) >= length[:, None]

    def part(column: Tensor) -> Tensor:
        rows = column[row, at.clamp(max=end.shape[1] - 1)]
        rows[beyond] = 0
        return rows

    return Histories(
        Transition(*map(part, histories.steps)), part(histories.asked), part(histories.best), length
    )


def default_sources(method: str, family: TaskFamily) -> tuple[str, ...]:
    """Who makes histories for a method where nobody was named.

    Algorithm distillation has a learner to imitate. For decision pretraining, who acts should know little: what a good
    learner does tells what is best more plainly than what it was paid, and who reads that in its own actions believes
    itself. On bandits it is random play alone; where it takes skill to meet what pays, a learner, too.
    """
    learner = next(name for name in ("thompson", "psrl", "random") if _plays(name, family))
    blind = "skewed" if _plays("skewed", family) else "random"
    if method == "icl_ad":
        return (learner,)
    return (blind,) if isinstance(family, Bandit) else (blind, learner)


def _plays(name: str, family: TaskFamily) -> bool:
    return any(isinstance(family, kind) for kind in REFERENCES[name])


def _labelled(
    family: TaskFamily,
    split: str,
    trial: Trial,
    tasks: Tasks,
    episodes: list[list[Step]],
    states: Tensor,
    noise: TrialNoise,
) -> Histories:
    """One source's trials, with what the oracle would do in states drawn from ``states``."""
    oracle = reference("oracle", family, split)
    told = oracle.start(Clues(task=tasks), trial, noise.agent.at("oracle"))
    asked, best = [], []
    for number, steps in enumerate(episodes):
        known = oracle.begin(told, noise.agent.at("oracle", number), episode=number)
        for t, step in enumerate(steps):
            asked.append(states[noise.env.at("asked", number, t).integers(len(states))])
            best.append(
                oracle.act(
                    known, asked[-1], noise.agent.at("oracle", number, t), explore=True
                ).action
            )
            known = oracle.observe(known, step)
    steps = [step for episode in episodes for step in episode]
    live = torch.stack([_live(step) for step in steps], 1)
    length = live.sum(1)
    order = live_first(live)
    row = torch.arange(len(length), device=length.device)[:, None]
    beyond = torch.arange(order.shape[1], device=length.device) >= length[:, None]

    def packed(column: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
        """Live steps first, zeros after them."""
        rows = torch.stack(list(column), 1)[row, order]
        rows[beyond] = 0
        return rows

    columns = zip(*(Transition.of(step) for step in steps), strict=True)
    return Histories(Transition(*map(packed, columns)), packed(asked), packed(best), length)


def _live(step: Step) -> Tensor:
    return torch.ones_like(step.terminated) if step.live is None else step.live


def _padded(part: Histories, longest: int) -> Histories:
    """With zeros at the end."""

    def pad(rows: Tensor) -> Tensor:
        more = rows.new_zeros(rows.shape[0], longest - rows.shape[1], *rows.shape[2:])
        return torch.cat([rows, more], 1)

    steps = Transition(*(pad(column) for column in part.steps))
    return Histories(steps, pad(part.asked), pad(part.best), part.length)
