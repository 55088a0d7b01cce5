"""The one evaluation loop: every method of both tracks plays the same tasks under the same environment noise.

Three tracks (``Plan.track``):

* ``O``, own exploration: the trial is played and every episode counts.
* ``C``, common context: every method is shown the same transitions, made by one behaviour agent, then scored frozen.
* ``F``, free adaptation: the method plays as it likes for some episodes, then is scored frozen.

A frozen episode is played from its own fork: ``begin``, ``act`` and ``observe`` run, ``adapt`` does not, and nothing
passes on. Every row plays the same number of whole episodes, so quick successes are never over-counted.

Shape letters: B trials of a chunk, K episodes, H steps, P curve points, N tasks or blocks of tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from bridge import memory as tree
from bridge.errors import ContractError, UserError
from bridge.evaluation.footprint import MEMORY, adapted, fit
from bridge.noise import TrialNoise
from bridge.play import EpisodeTotals, clues, play_episode, play_trial, record_context
from bridge.protocol import Agent, Step, Trial
from bridge.tasks.base import CONTEXT_AXES, TaskFamily, Tasks

METRICS = ("episode_return", "trial_return", "regret", "success", "informed_return")
"""``informed_return``: on track C, the return of an episode of those trials whose shown context holds a success."""
COSTS = ("transitions", "grad_steps", "refused_steps", "clock")
"""What a trial has cost by a curve point; gradient steps are known of agents that have ``tally(memory)``. Of frozen
forks, as many as there are points, each counts what is its own."""
DETAILED_TRIALS = 256
"""Step detail is kept for this many trials of a split; everything else is kept as sums."""
TASK_BLOCKS = 64
"""Where every trial has a task of its own, results are kept for this many blocks of consecutive tasks."""
FIXED_PARTS = 10
"""Where tasks are a finite list, each task's trials are kept in this many parts, so that intervals can be paired."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is played: a split, how many trials, on which track."""

    split: str = "id"
    trials: int = 1000
    track: Literal["O", "C", "F"] = "O"
    eval_seed: int = 0
    """Seeds the environment's and the agents' noise; the same for all methods and training seeds."""
    trials_per_task: int = 0
    """Trials that share a task; 0: one each where tasks are continuous, an equal share where they are finite."""
    shots: int = 0
    """Tracks C and F: how many episodes are shown or adapted on; 0: as many as the trial has."""
    left_out: tuple[int, ...] = ()
    """Where tasks are a finite list: those that are not played, since somebody was tuned on them."""

    def __post_init__(self) -> None:
        if self.track not in ("O", "C", "F"):
            raise UserError(
                f"The tracks are O (own exploration), C (common context) and F (free), found {self.track!r}."
            )
        if self.trials < 1:
            raise UserError(f"trials must be 1 or more, found {self.trials}.")
        if self.trials_per_task and self.trials < 2 * self.trials_per_task:
            raise UserError(
                f"trials={self.trials} at trials_per_task={self.trials_per_task} makes one task. Raise trials."
            )
        if self.trials_per_task < 0 or self.shots < 0:
            raise UserError(
                f"trials_per_task and shots cannot be negative: {self.trials_per_task}, {self.shots}."
            )


@dataclass
class Evaluation:
    """Sums over trials, by task (or block of tasks), part of its trials, and curve point.

    ``total[metric]`` is ``[3, N, parts, P]``: n, sum and sum of squares. A part is every second (or tenth) trial of a
    task: parts are replicates of one another, and tasks can be chosen on the even ones and scored on the odd ones.
    """

    plan: Plan
    trial: Trial
    points: tuple[int, ...]
    """Curve points, in episodes."""
    total: dict[str, np.ndarray]
    cost: dict[str, np.ndarray]
    """The mean over trials of each of ``COSTS`` at every curve point, ``[P]``."""
    seconds: float = 0.0
    env_steps: int = 0
    detail: dict[str, np.ndarray] = field(default_factory=dict)
    """``episode``, ``step``, ``trial``, ``action``, ``reward`` of the first trials, one entry a transition."""

    def pooled(self, metric: str, point: int = -1) -> tuple[float, float, float]:
        """n, sum and sum of squares over all tasks at one curve point (the last one unless told)."""
        n, total, square = self.total[metric][..., point].sum((1, 2))
        return float(n), float(total), float(square)

    def mean(self, metric: str, point: int = -1) -> float:
        """The mean over all trials at one curve point."""
        n, total, _ = self.pooled(metric, point)
        return total / n if n else float("nan")


@torch.no_grad()
def evaluate(
    agent: Agent,
    family: TaskFamily,
    plan: Plan,
    *,
    behaviour: Agent | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    memory_limit: int = MEMORY,
) -> Evaluation:
    """Play ``plan`` and return its sums. Gradients are off; an agent that learns in ``adapt`` turns them on for itself.

    Args:
        agent: who plays.
        family: what is played.
        plan: split, trials, track.
        behaviour: who makes the common context of track C.
        device: where the tasks live.
        progress: called with the number of environment steps just played.
        clock: what tells the cost of that name; seconds, or a counter of operations.
        memory_limit: bytes that playing may need beyond what the process needs anyway: trials are played in chunks that
            fit. It changes no number.

    Raises:
        UserError: the plan does not fit the family.
        ContractError: a NaN, a wrong shape or a forbidden clue; says which row and which step.
    """
    if agent.card.clue == "task" and not agent.card.reference:
        raise ContractError(
            f"{agent.card.method} asks to be told the task; only references may. Use another clue."
        )
    if plan.track == "C" and behaviour is None:
        raise UserError(
            "Track C shows every method the same context: name the behaviour agent that makes it."
        )
    if plan.track != "C" and family.split(plan.split).axis in CONTEXT_AXES:
        raise UserError(
            f"{plan.split} moves what is shown, and only track C shows anything. Ask for track C."
        )
    trial = family.trial(plan.split)
    points = family.curve_points(trial)
    if plan.track != "O":
        if plan.shots > trial.episodes:
            raise UserError(
                f"shots={plan.shots} is more than the {trial.episodes} episodes that a trial of {family.id} has."
            )
        trial = Trial(plan.shots or trial.episodes, trial.horizon)
        points = shot_points(trial.episodes)
    told = (
        trial if plan.track == "O" else Trial(trial.episodes + 1, trial.horizon)
    )  # the scored episode comes on top
    blocks = task_blocks(family, plan)
    parts = trial_parts(family, plan)
    sums = {
        metric: torch.zeros(3, blocks * parts, len(points), dtype=torch.float64)
        for metric in METRICS
    }
    spent = {name: torch.zeros(len(points), dtype=torch.float64) for name in COSTS}
    result = Evaluation(plan, trial, points, {}, {})
    detail: list[dict[str, np.ndarray]] = []
    began = time.perf_counter()
    size = fit(
        agent,
        family,
        plan.split,
        told,
        plan.trials,
        limit=memory_limit,
        frozen=plan.track != "O",
        shown_by=behaviour if plan.track == "C" else None,
        device=device,
    )
    for ids in torch.arange(plan.trials, device=device).split(size.rows):
        tasks = family.sample(plan.split, task_index(family, plan, ids))
        noise = TrialNoise.of(plan.eval_seed, ids)
        memory = agent.start(clues(agent, family, plan.split, tasks), told, noise.agent.at("start"))
        key = block_of(family, plan, ids).cpu()
        log = _Detail(ids) if ids[0] < DETAILED_TRIALS and plan.track == "O" else None
        if plan.track == "O":
            scored = _own(
                agent, family, tasks, memory, noise, trial, points, log, clock, size.adapting
            )
        else:
            contexts = None
            if plan.track == "C" and behaviour is not None:
                contexts = record_context(
                    behaviour, family, plan.split, tasks, noise.at("context"), trial
                )
            scored = _frozen(
                agent, family, tasks, memory, noise, trial, points, contexts, clock, size.adapting
            )
        for point, steps, values, costs in scored:
            for metric, value in values.items():
                value = value.to("cpu", torch.float64)
                counted = torch.ones_like(value)
                if metric == "informed_return":
                    counted, value = ~value.isnan(), value.nan_to_num()
                stack = torch.stack([counted, value, value * value])
                sums[metric][:, :, point].index_add_(1, key, stack)
            for name, value in costs.items():
                spent[name][point] += value.double().sum().item()
            result.env_steps += steps * len(ids)
            if progress:
                progress(steps * len(ids))
        if log:
            detail.append(log.arrays())
    result.seconds = time.perf_counter() - began
    result.cost = {name: total.numpy() / plan.trials for name, total in spent.items()}
    result.total = {
        metric: total.view(3, blocks, parts, len(points)).numpy() for metric, total in sums.items()
    }
    result.detail = (
        {name: np.concatenate([d[name] for d in detail]) for name in detail[0]} if detail else {}
    )
    return result


def shot_points(shots: int) -> tuple[int, ...]:
    """After how many shots a frozen episode is scored on tracks C and F: 0, 1, 2, 4, ... and the last."""
    return (0, *sorted({*(1 << k for k in range(shots.bit_length())), shots}))


Scored = Iterator[tuple[int, int, dict[str, Tensor], dict[str, Tensor]]]
"""Curve point, environment steps a row since the last one, the metrics of each row, and what it has cost so far."""


def _own(
    agent: Agent,
    family: TaskFamily,
    tasks: Tasks,
    memory: Any,
    noise: TrialNoise,
    trial: Trial,
    points: tuple[int, ...],
    log: _Detail | None,
    clock: Callable[[], float],
    at_once: int,
) -> Scored:
    """Track O: play the trial, adapt between episodes, report at the curve points."""
    optimal = family.optimal_return(tasks, trial).double()
    earned = torch.zeros_like(optimal)
    regret = torch.zeros_like(optimal)
    steps, paid, began = torch.zeros_like(optimal), 0, clock()

    def adapt(memory: Any, episode: int, last: bool) -> Any:
        rng = noise.agent.at(episode, "adapt")
        return adapted(agent, memory, rng, at_once, episode=episode, last=last)

    on_step = log.on_step if log else None
    played = play_trial(agent, family, tasks, memory, noise, trial, adapt=adapt, on_step=on_step)
    for episode, adapting, totals in played:
        earned += totals.reward
        regret += optimal - totals.expected
        steps += totals.steps
        paid += trial.horizon
        if episode + 1 in points:
            values = {"episode_return": totals.reward, "trial_return": earned, "regret": regret}
            costs = _costs(agent, adapting, steps, float(clock() - began))
            yield points.index(episode + 1), paid, _with_success(values, totals), costs
            paid = 0


def _frozen(
    agent: Agent,
    family: TaskFamily,
    tasks: Tasks,
    memory: Any,
    noise: TrialNoise,
    trial: Trial,
    points: tuple[int, ...],
    contexts: list[list[Step]] | None,
    clock: Callable[[], float],
    at_once: int,
) -> Scored:
    """Tracks C (``contexts`` are shown) and F (the agent makes its own): score frozen forks at the curve points."""
    optimal = family.optimal_return(tasks, trial)
    steps, paid, spent = torch.zeros_like(optimal), 0, 0.0
    informed = torch.zeros_like(optimal, dtype=torch.bool)

    def adapt(memory: Any, episode: int, last: bool) -> Any:
        rng = noise.agent.at(episode + 1, "adapt")
        return adapted(agent, memory, rng, at_once, episode=episode, last=last)

    def score(memory: Any, shots: int) -> tuple[int, int, dict[str, Tensor], dict[str, Tensor]]:
        began = clock()
        memory = tree.fork(memory)
        if shots:
            memory = adapt(memory, shots - 1, True)
        _, totals = play_episode(
            agent,
            family,
            tasks,
            memory,
            noise.at("score"),
            episode=shots,
            horizon=trial.horizon,
            explore=False,
        )
        values = {"episode_return": totals.reward, "regret": optimal - totals.expected}
        if contexts:
            values["informed_return"] = torch.where(informed, totals.reward, torch.nan)
        costs = _costs(agent, memory, steps, spent + clock() - began)
        return points.index(shots), paid + trial.horizon, _with_success(values, totals), costs

    yield score(memory, 0)
    began = clock()
    played = play_trial(agent, family, tasks, memory, noise, trial, adapt=adapt, context=contexts)
    for episode, adapting, totals in played:
        steps += totals.steps
        paid, spent = paid + trial.horizon, spent + clock() - began
        if totals.success is not None:
            informed |= totals.success
        if episode + 1 in points:
            yield score(adapting, episode + 1)
            paid = 0
        began = clock()


# --- which task a trial plays, and where its sums go ------------------------------------------------------------------


def listed(family: TaskFamily, plan: Plan) -> Int[Tensor, " n"] | None:
    """The tasks that are played of a finite list; None where there is none.

    Raises:
        UserError: all of it is left out, or there is none to leave out of.
    """
    size = family.support(plan.split)
    if size is None:
        if plan.left_out:
            raise UserError(
                f"The tasks of {plan.split} are no finite list, of which some could be left out."
            )
        return None
    numbers = torch.arange(size)
    numbers = numbers[~torch.isin(numbers, torch.tensor(plan.left_out, dtype=torch.int64))]
    if not len(numbers):
        raise UserError(f"All {size} tasks of {plan.split} are left out. Leave some to play.")
    return numbers


def task_index(family: TaskFamily, plan: Plan, trial_ids: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """The task of each trial: finite splits go round and round, so that each task gets an equal share."""
    numbers = listed(family, plan)
    if numbers is not None:
        return numbers.to(trial_ids.device)[trial_ids % len(numbers)]
    return trial_ids // plan.trials_per_task if plan.trials_per_task else trial_ids


def task_blocks(family: TaskFamily, plan: Plan) -> int:
    """How many tasks, or blocks of tasks, the results of ``plan`` are kept for."""
    numbers = listed(family, plan)
    if numbers is not None:
        return min(len(numbers), plan.trials)
    if plan.trials_per_task:
        return -(-plan.trials // plan.trials_per_task)
    return min(TASK_BLOCKS, plan.trials)


def trial_parts(family: TaskFamily, plan: Plan) -> int:
    """In how many parts a task's trials are kept: replicates of the whole split where its tasks are a finite list."""
    return FIXED_PARTS if family.support(plan.split) is not None else 2


def block_of(family: TaskFamily, plan: Plan, trial_ids: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """``parts * block + part`` of each trial; a part is the trial's number within its task, modulo their count."""
    parts, numbers = trial_parts(family, plan), listed(family, plan)
    if numbers is not None:
        size = len(numbers)
        return parts * (trial_ids % size) + (trial_ids // size) % parts
    if plan.trials_per_task:
        return (
            parts * (trial_ids // plan.trials_per_task) + trial_ids % plan.trials_per_task % parts
        )
    return parts * (trial_ids * task_blocks(family, plan) // plan.trials) + trial_ids % parts


def _costs(agent: Agent, memory: Any, lived: Tensor, spent: float) -> dict[str, Tensor]:
    """Of each row; what all rows have spent together is shared evenly."""
    tally = getattr(agent, "tally", None)
    costs = {
        "transitions": lived.clone(),
        "clock": torch.full_like(lived, spent / len(lived), dtype=torch.float64),
    }
    return costs | (tally(memory) if tally else {})


def _with_success(values: dict[str, Tensor], totals: EpisodeTotals) -> dict[str, Tensor]:
    return values if totals.success is None else values | {"success": totals.success.double()}


class _Detail:
    """Every transition of the first trials of a chunk; a row that idles makes none."""

    def __init__(self, ids: Int[Tensor, " B"]) -> None:
        self.ids = ids[ids < DETAILED_TRIALS]
        self.parts: list[tuple[Tensor, int, int, Tensor, Tensor]] = []

    def on_step(self, episode: int, t: int, step: Step) -> None:
        n = len(self.ids)
        acted = (
            torch.arange(n, device=self.ids.device)
            if step.live is None
            else step.live[:n].nonzero().flatten()
        )
        self.parts.append((self.ids[acted], episode, t, step.action[acted], step.reward[acted]))

    def arrays(self) -> dict[str, np.ndarray]:
        """One entry a transition: trial, episode, step, action, reward."""
        trial, episode, step, action, reward = zip(*self.parts, strict=True)
        counts = [len(ids) for ids in trial]
        return {
            "trial": torch.cat(trial).cpu().numpy(),
            "episode": np.repeat(np.array(episode), counts),
            "step": np.repeat(np.array(step), counts),
            "action": torch.cat(action).cpu().numpy(),
            "reward": torch.cat(reward).cpu().numpy(),
        }
