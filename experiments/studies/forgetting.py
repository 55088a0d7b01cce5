"""What is forgotten? Runs are tuned on shifted tasks, and then play training tasks with the weights that this left.

    python -m experiments.studies.forgetting --family bandit:k=5,n=20 --runs runs/* --splits shift/reward_sign/4

An agent explores a shifted task for so many episodes and takes gradient steps on what it has seen, as in
``experiments.studies.few_shot``. *There* is what that adds to the next episode, scored frozen. Then it begins a trial
on a training task, of which it knows nothing, and takes no more steps: *here* is what the weights of its own add to the
return of that trial. Beside them stand the returns without any steps. Tasks and noise are the same with and without.

Intervals are over tasks, for these very runs; runs that differ by their seeds alone are pooled.

Shape letters: T trials.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge.errors import UserError
from bridge.evaluation.assignment import Assignment
from bridge.evaluation.footprint import MEMORY, fit, parse_memory
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import clues, play_episode, play_trial
from bridge.protocol import Trial
from bridge.report import escape
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily, Tasks
from bridge.test_time.agent import FineTuned, Memory
from experiments import methods
from experiments.compare import expand_splits
from experiments.studies.arguments import arguments, run
from experiments.studies.few_shot.cells import Kind, cells
from experiments.studies.few_shot.curves import text

HOME = "train"
"""Where what was known before is asked for again."""


class Returns(NamedTuple):
    """Of each trial, without and with the gradient steps."""

    there: Float[np.ndarray, "2 T"]
    """Of the scored episode on the shifted task."""
    here: Float[np.ndarray, "2 T"]
    """Of a whole trial on a training task."""


@torch.no_grad()
def forget(
    agent: FineTuned,
    family: TaskFamily,
    split: str,
    *,
    shots: int,
    trials: int,
    memory: int = MEMORY,
) -> Returns:
    """Tune on tasks of ``split``, then play those of ``train``, as many at a time as fit into ``memory`` bytes."""
    trial = Trial(shots + 1, family.trial(split).horizon)
    size = fit(agent, family, split, trial, trials, limit=memory, frozen=True)
    chunks = [
        _forget(agent, family, split, shots, ids)
        for ids in torch.arange(trials).split(size.adapting)
    ]
    return Returns(*(np.concatenate(part, 1) for part in zip(*chunks, strict=True)))


def _forget(
    agent: FineTuned, family: TaskFamily, split: str, shots: int, ids: Int[Tensor, " T"]
) -> Returns:
    """The same for some trials."""
    there, here = [], []
    noise, tasks = TrialNoise.of("forgetting", ids), _tasks(family, split, ids)
    trial, told = Trial(shots + 1, family.trial(split).horizon), clues(agent, family, split, tasks)
    for steps in (0, agent.config.inner_steps):
        player = agent.with_steps(steps)
        memory = player.start(told, trial, noise.agent.at("start"))
        for played in play_trial(
            player, family, tasks, memory, noise, trial._replace(episodes=shots)
        ):
            memory = played.memory
        rng = noise.agent.at(shots - 1, "adapt")
        memory = player.adapt(memory, rng, episode=shots - 1, last=True)
        here.append(_at_home(player, family, memory, ids))
        _, totals = play_episode(
            player,
            family,
            tasks,
            memory,
            noise.at("score"),
            episode=shots,
            horizon=trial.horizon,
            explore=False,
        )
        there.append(totals.reward.numpy())
    return Returns(np.stack(there), np.stack(here))


def _at_home(
    agent: FineTuned, family: TaskFamily, left: Memory, ids: Int[Tensor, " T"]
) -> Float[np.ndarray, " T"]:
    """The return of a trial on training tasks, in which no steps are taken."""
    noise, tasks, trial = TrialNoise.of("home", ids), _tasks(family, HOME, ids), family.trial(HOME)
    memory = agent.afresh(left, clues(agent, family, HOME, tasks), trial, noise.agent.at("start"))
    earned = torch.zeros(len(ids))
    for played in play_trial(agent.with_steps(0), family, tasks, memory, noise, trial):
        earned += played.totals.reward
    return earned.numpy()


def _tasks(family: TaskFamily, split: str, ids: Int[Tensor, " T"]) -> Tasks:
    return family.sample(split, Assignment.of(family, Plan(split=split)).task(ids))


def show(found: dict[Kind, list[Returns]], split: str) -> None:
    """A table, as Markdown."""
    print(
        f"\n**{split}** · without steps, and what they add: to the next episode there, to a training trial here\n"
    )
    print(
        "| method | tuned | steps | there | added | here | added |\n|---|---|--:|--:|--:|--:|--:|"
    )
    for kind, runs in found.items():
        there, here = (np.mean([getattr(one, name) for one in runs], 0) for name in Returns._fields)
        texts = (
            text(part)
            for without, with_steps in (there, here)
            for part in (without, with_steps - without)
        )
        print(
            f"| {escape.markdown(kind.method)} | {kind.way} | {kind.steps} | {' | '.join(texts)} |"
        )


def main() -> None:
    """Play and print."""
    parser = arguments(__doc__)
    parser.add_argument("--splits", required=True, help="names or patterns, joined by commas")
    parser.add_argument("--steps", type=int, default=20, help="gradient steps")
    run("forgetting", _study, parser)


def _study(asked: argparse.Namespace) -> None:
    family = make_family(asked.family)
    if min(asked.shots, asked.steps) < 1 or asked.trials < 2:
        raise UserError("--shots and --steps are 1 or more, and --trials 2 or more.")
    splits, memory = (
        tuple(expand_splits(family, tuple(asked.splits.split(",")))),
        parse_memory(asked.memory),
    )
    found: dict[str, dict[Kind, list[Returns]]] = {split: {} for split in splits}
    for cell in cells(asked.runs, family, splits, "reward", tuple(asked.tuned), (asked.steps,)):
        agent = methods.agent(cell.spec, family, cell.split)
        if cell.steps and isinstance(agent, FineTuned):
            lost = forget(
                agent, family, cell.split, shots=asked.shots, trials=asked.trials, memory=memory
            )
            found[cell.split].setdefault(cell.kind, []).append(lost)
    if not any(found.values()):
        raise UserError(
            "None of these runs is tuned by steps that could be kept: MAML begins every trial anew."
        )
    for split, kinds in found.items():
        show(kinds, split)


if __name__ == "__main__":
    main()
