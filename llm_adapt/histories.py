"""Learning histories: what learners did on training tasks from their first step on, and what would have been best.

A source is a reference agent (``bridge/references/table.py``) that knows no more of a task than its history shows. It
must not: an agent that imitates somebody who knew more takes its own guesses for evidence (Ortega et al. 2021,
arXiv 2110.10819). Beside each step stands the informed oracle's action in that state: the same histories serve
algorithm distillation, which learns what the source did, and decision pretraining: what it should have done.

Shape letters: B trials, T steps of the longest trial.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from bridge import memory
from bridge.errors import UserError
from bridge.play import record_context
from bridge.protocol import Agent, Clues, Step, Trial
from bridge.references.table import REFERENCES, reference
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit
from bridge.tasks.base import TaskFamily, Tasks
from llm_adapt.tokens import Transition


class Histories(NamedTuple):
    """Whole trials: their live steps, then zeros up to the length of the longest."""

    steps: Transition
    """``[B, T, ...]``; ``end`` is 1 where a step ended its episode."""
    best: Tensor
    """The oracle's action in the state of each step, ``[B, T, ...]``."""
    length: Int[Tensor, " B"]
    """Live steps."""


@torch.no_grad()
def play(sources: tuple[str, ...], family: TaskFamily, trial: Trial, noise: Rows) -> Histories:
    """A trial on a training task for each row of ``noise``, which names both; rows take the sources in turn.

    Raises:
        UserError: a source that is told the task, or one that does not play this family.
    """
    tasks = family.sample("train", noise.at("task").bits() & ((1 << 62) - 1))
    rows = torch.arange(len(noise), device=noise.device)
    parts = []
    for number, name in enumerate(sources):
        mine = rows[rows % len(sources) == number]
        if len(mine):
            parts.append((mine, _played(_source(name, family), family, trial, memory.select(tasks, mine), noise[mine])))
    longest = max(int(part.length.max()) for _, part in parts)
    found = [_padded(part, longest) for _, part in parts]
    order = torch.cat([mine for mine, _ in parts]).argsort()
    steps = Transition(*(torch.cat(columns)[order] for columns in zip(*(part.steps for part in found), strict=True)))
    best, length = (torch.cat([getattr(part, name) for part in found])[order] for name in ("best", "length"))
    return Histories(steps, best, length)


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


def _source(name: str, family: TaskFamily) -> Agent:
    source = reference(name, family, "train")
    if source.card.clue == "task":
        honest = [n for n in REFERENCES if n != name]
        raise UserError(f"{name} is told the task, and nobody can imitate what he cannot know. Take one of {honest}.")
    return source


def _played(source: Agent, family: TaskFamily, trial: Trial, tasks: Tasks, noise: Rows) -> Histories:
    """One source's trials."""
    episodes = record_context(source, family, "train", tasks, noise, trial)
    oracle = reference("oracle", family, "train")
    told = oracle.start(Clues(task=tasks), trial, noise.at("oracle"))
    best = []
    for number, steps in enumerate(episodes):
        known = oracle.begin(told, noise.at("oracle", number), episode=number)
        for t, step in enumerate(steps):
            best.append(oracle.act(known, step.obs, noise.at("oracle", number, t), explore=True).action)
            known = oracle.observe(known, step)
    steps = [step for episode in episodes for step in episode]
    live = torch.stack([_live(step) for step in steps], 1)
    length = live.sum(1)
    order = (~live).sort(dim=1, stable=True).indices[:, : int(length.max())]
    row = torch.arange(len(length), device=length.device)[:, None]
    columns = zip(*(Transition.of(step) for step in steps), strict=True)
    packed = Transition(*(torch.stack(column, 1)[row, order] for column in columns))
    beyond = torch.arange(order.shape[1], device=length.device) >= length[:, None]
    for part in (*packed, best_action := torch.stack(best, 1)[row, order]):
        part[beyond] = 0
    return Histories(packed, best_action, length)


def _live(step: Step) -> Tensor:
    return torch.ones_like(step.terminated) if step.live is None else step.live


def _padded(part: Histories, longest: int) -> Histories:
    """With zeros at the end."""

    def pad(rows: Tensor) -> Tensor:
        more = rows.new_zeros(rows.shape[0], longest - rows.shape[1], *rows.shape[2:])
        return torch.cat([rows, more], 1)

    return Histories(Transition(*(pad(column) for column in part.steps)), pad(part.best), part.length)
