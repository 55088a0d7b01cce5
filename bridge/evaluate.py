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
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge import memory as tree
from bridge.errors import ContractError, UserError
from bridge.protocol import Agent, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Discrete, TaskFamily, Tasks

METRICS = ("episode_return", "trial_return", "regret", "success")
DETAILED_TRIALS = 256
"""Step detail is kept for this many trials of a split; everything else is kept as sums."""
TASK_BLOCKS = 64
"""Where every trial has a task of its own, results are kept for this many blocks of consecutive tasks."""
_CHUNK_ROWS = 1 << 15
_CHUNK_BYTES = 512 << 20


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

    def __post_init__(self) -> None:
        if self.track not in ("O", "C", "F"):
            raise UserError(f"The tracks are O (own exploration), C (common context) and F (free), found {self.track!r}.")
        if self.trials < 1:
            raise UserError(f"trials must be 1 or more, found {self.trials}.")
        if self.trials_per_task < 0 or self.shots < 0:
            raise UserError(f"trials_per_task and shots cannot be negative: {self.trials_per_task}, {self.shots}.")


@dataclass
class Evaluation:
    """Sums over trials, by task (or block of tasks), half of its trials, and curve point.

    ``total[metric]`` is ``[3, N, 2, P]``: n, sum and sum of squares. A half is the even or the odd trials of a task, so
    that tasks can be chosen on one and scored on the other.
    """

    plan: Plan
    trial: Trial
    points: tuple[int, ...]
    """Curve points, in episodes."""
    total: dict[str, np.ndarray]
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


class EpisodeTotals(NamedTuple):
    """What one episode gave each row."""

    reward: Float[Tensor, " B"]
    expected: Float[Tensor, " B"]
    success: Bool[Tensor, " B"] | None


Visit = Callable[[int, Step], None]


def play_episode(
    agent: Agent,
    family: TaskFamily,
    tasks: Tasks,
    memory: Any,
    rng: Rows,
    *,
    episode: int,
    horizon: int,
    explore: bool = True,
    visit: Visit | None = None,
) -> tuple[Any, EpisodeTotals]:
    """One episode of B rows, from ``begin`` to the last ``observe``; rows that end early idle until all have ended.

    ``visit(t, step)`` sees every transition. Noise is named by episode and step under ``rng``'s own name.
    """
    env, own = rng.at("env", episode), rng.at("agent", episode)
    memory = agent.begin(memory, own.at("begin"), episode=episode)
    state, obs = family.reset(tasks, env.at("reset"))
    reward = torch.zeros(len(rng), device=rng.device)
    expected = torch.zeros_like(reward)
    success: Tensor | None = None
    live = torch.ones_like(reward, dtype=torch.bool) if family.ends_early else None
    for t in range(horizon):
        decision = agent.act(memory, obs, own.at("act", t), explore=explore)
        _check_decision(decision, family, len(rng), episode, t)
        state, step = transition(family, tasks, state, obs, decision.action, env.at("step", t), t + 1 == horizon, live)
        _check_step(step, family, episode, t)
        memory = agent.observe(memory, step, decision.carry)
        obs = step.next_obs
        reward += step.reward
        mean = family.expected_reward(tasks, step)
        expected += mean if live is None else torch.where(live, mean, 0.0)
        won = family.success(tasks, step)
        if won is not None:
            won = won if live is None else won & live
            success = won if success is None else success | won
        if visit:
            visit(t, step)
        if live is not None:
            live = live & ~step.terminated & ~step.truncated
            if not bool(live.any()):
                break
    return memory, EpisodeTotals(reward, expected, success)


def transition(
    family: TaskFamily,
    tasks: Tasks,
    state: Any,
    obs: Tensor,
    action: Tensor,
    noise: Rows,
    out_of_time: bool,
    live: Bool[Tensor, " B"] | None = None,
) -> tuple[Any, Step]:
    """One step of the simulator as the contract wants it: time-outs marked, dead rows standing still."""
    outcome = family.step(tasks, state, action, noise)
    never = torch.zeros(len(action), dtype=torch.bool, device=action.device)
    terminated = never if outcome.terminated is None else outcome.terminated
    truncated = ~terminated if out_of_time else never
    step = Step(obs, action, outcome.reward, outcome.obs, terminated, truncated, live)
    if live is None:
        return outcome.state, step
    stood = Step(obs, action, torch.zeros_like(outcome.reward), obs, never, never, live, None)
    return tree.where(live, outcome.state, state), Step(*tree.where(live, step[:6], stood[:6]), live)


def evaluate(
    agent: Agent,
    family: TaskFamily,
    plan: Plan,
    *,
    behaviour: Agent | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Play ``plan`` and return its sums.

    Args:
        agent: who plays.
        family: what is played.
        plan: split, trials, track.
        behaviour: who makes the common context of track C.
        device: where the tasks live.
        progress: called with the number of environment steps just played.

    Raises:
        UserError: the plan does not fit the family.
        ContractError: a NaN, a wrong shape or a forbidden clue; says which row and which step.
    """
    if agent.card.clue == "task" and not agent.card.reference:
        raise ContractError(f"{agent.card.method} asks to be told the task; only references may. Use another clue.")
    if plan.track == "C" and behaviour is None:
        raise UserError("Track C shows every method the same context: name the behaviour agent that makes it.")
    trial = family.trial(plan.split)
    points = family.curve_points(trial)
    if plan.track != "O":
        if plan.shots > trial.episodes:
            raise UserError(f"shots={plan.shots} is more than the {trial.episodes} episodes that a trial of {family.id} has.")
        trial = Trial(plan.shots or trial.episodes, trial.horizon)
        points = (0, *family.curve_points(trial))
    blocks = task_blocks(family, plan)
    sums = {metric: torch.zeros(3, blocks * 2, len(points), dtype=torch.float64) for metric in METRICS}
    result = Evaluation(plan, trial, points, {})
    detail: list[dict[str, np.ndarray]] = []
    began = time.perf_counter()
    for ids in _chunks(agent, family, plan, trial, device):
        tasks = family.sample(plan.split, task_index(family, plan, ids))
        rng = Rows.of(plan.eval_seed, ids)
        memory = agent.start(clues(agent, family, plan.split, tasks), trial, rng.at("agent", "start"))
        key = _block_of(family, plan, ids).cpu()
        log = _Detail(ids) if ids[0] < DETAILED_TRIALS and plan.track == "O" else None
        if plan.track == "O":
            scored = _own(agent, family, tasks, memory, rng, trial, points, log)
        else:
            scored = _frozen(agent, family, tasks, memory, rng, trial, points, behaviour if plan.track == "C" else None)
        for point, steps, values in scored:
            for metric, value in values.items():
                value = value.to("cpu", torch.float64)
                stack = torch.stack([torch.ones_like(value), value, value * value])
                sums[metric][:, :, point].index_add_(1, key, stack)
            result.env_steps += steps * len(ids)
            if progress:
                progress(steps * len(ids))
        if log:
            detail.append(log.arrays())
    result.seconds = time.perf_counter() - began
    result.total = {metric: total.view(3, blocks, 2, len(points)).numpy() for metric, total in sums.items()}
    result.detail = {name: np.concatenate([d[name] for d in detail]) for name in detail[0]} if detail else {}
    return result


Scored = Iterator[tuple[int, int, dict[str, Tensor]]]
"""Curve point, environment steps a row since the last one, and the metrics of each row."""


def _own(
    agent: Agent, family: TaskFamily, tasks: Tasks, memory: Any, rng: Rows, trial: Trial, points: tuple[int, ...], log: Any
) -> Scored:
    """Track O: play the trial, adapt after each episode, report at the curve points."""
    optimal = family.optimal_return(tasks, trial).double()
    earned = torch.zeros_like(optimal)
    regret = torch.zeros_like(optimal)
    paid = 0
    for episode in range(trial.episodes):
        visit = log.visitor(episode) if log else None
        memory, totals = play_episode(
            agent, family, tasks, memory, rng, episode=episode, horizon=trial.horizon, visit=visit
        )
        last = episode + 1 == trial.episodes
        memory = agent.adapt(memory, rng.at("agent", episode, "adapt"), episode=episode, last=last)
        earned += totals.reward
        regret += optimal - totals.expected
        paid += trial.horizon
        if episode + 1 in points:
            values = {"episode_return": totals.reward, "trial_return": earned, "regret": regret}
            yield points.index(episode + 1), paid, _with_success(values, totals)
            paid = 0


def _frozen(
    agent: Agent,
    family: TaskFamily,
    tasks: Tasks,
    memory: Any,
    rng: Rows,
    trial: Trial,
    points: tuple[int, ...],
    behaviour: Agent | None,
) -> Scored:
    """Tracks C (a ``behaviour`` makes the context) and F (the agent does): score frozen forks at the curve points."""
    optimal = family.optimal_return(tasks, trial)
    contexts = record_context(behaviour, family, tasks, rng.at("context"), trial) if behaviour else None
    paid = 0
    for shots in range(trial.episodes + 1):
        own = rng.at("agent", shots)
        if shots in points:
            scorer = tree.fork(memory)
            if shots:
                scorer = agent.adapt(scorer, own.at("adapt"), episode=shots - 1, last=True)
            _, totals = play_episode(
                agent, family, tasks, scorer, rng.at("score"), episode=shots, horizon=trial.horizon, explore=False
            )
            values = {"episode_return": totals.reward, "regret": optimal - totals.expected}
            yield points.index(shots), paid + trial.horizon, _with_success(values, totals)
            paid = 0
        if shots == trial.episodes:
            return
        if shots:
            memory = agent.adapt(memory, own.at("adapt"), episode=shots - 1, last=False)
        if contexts:
            memory = show(agent, memory, contexts[shots], own.at("begin"), episode=shots)
        else:
            memory, _ = play_episode(agent, family, tasks, memory, rng, episode=shots, horizon=trial.horizon)
        paid += trial.horizon


def record_context(behaviour: Agent, family: TaskFamily, tasks: Tasks, rng: Rows, trial: Trial) -> list[list[Step]]:
    """The transitions of a whole trial of ``behaviour``, one list of steps an episode."""
    told = clues(behaviour, family, "id", tasks)
    memory = behaviour.start(told, trial, rng.at("agent", "start"))
    episodes = []
    for episode in range(trial.episodes):
        steps: list[Step] = []
        memory, _ = play_episode(
            behaviour, family, tasks, memory, rng, episode=episode, horizon=trial.horizon,
            visit=lambda _t, step, steps=steps: steps.append(step),
        )  # fmt: skip
        memory = behaviour.adapt(memory, rng.at("agent", episode, "adapt"), episode=episode, last=False)
        episodes.append(steps)
    return episodes


def show(agent: Agent, memory: Any, steps: list[Step], rng: Rows, *, episode: int) -> Any:
    """Show an agent one episode that it did not play: ``begin``, then ``absorb`` where it has one, else ``observe``."""
    memory = agent.begin(memory, rng, episode=episode)
    absorb = getattr(agent, "absorb", None)
    if absorb is not None:
        return absorb(memory, steps)
    for step in steps:
        memory = agent.observe(memory, step)
    return memory


def clues(agent: Agent, family: TaskFamily, split: str, tasks: Tasks) -> Clues:
    """What ``agent`` asks to be told, where it can be: an id only on a fixed set of training tasks."""
    kind = agent.card.clue
    if kind == "task":
        return Clues(task=tasks)
    if kind == "id" and split == "train" and family.tasks:
        return Clues(task_id=tasks.index)
    return Clues()


# --- which task a trial plays, and where its sums go ------------------------------------------------------------------


def task_index(family: TaskFamily, plan: Plan, trial_ids: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """The task of each trial: finite splits go round and round, so that each task gets an equal share."""
    size = family.support(plan.split)
    if size is not None:
        return trial_ids % size
    return trial_ids // plan.trials_per_task if plan.trials_per_task else trial_ids


def task_blocks(family: TaskFamily, plan: Plan) -> int:
    """How many tasks, or blocks of tasks, the results of ``plan`` are kept for."""
    size = family.support(plan.split)
    if size is not None:
        return min(size, plan.trials)
    if plan.trials_per_task:
        return -(-plan.trials // plan.trials_per_task)
    return min(TASK_BLOCKS, plan.trials)


def _block_of(family: TaskFamily, plan: Plan, trial_ids: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """``2 * block + half`` of each trial; a half is the parity of the trial's number within its task."""
    size = family.support(plan.split)
    if size is not None:
        return 2 * (trial_ids % size) + (trial_ids // size) % 2
    if plan.trials_per_task:
        return 2 * (trial_ids // plan.trials_per_task) + trial_ids % plan.trials_per_task % 2
    return 2 * (trial_ids * task_blocks(family, plan) // plan.trials) + trial_ids % 2


def _chunks(
    agent: Agent, family: TaskFamily, plan: Plan, trial: Trial, device: str | torch.device
) -> Iterator[Int[Tensor, " B"]]:
    """Trial numbers in chunks that fit a byte budget, measured on two rows of tasks and memory."""
    probe = torch.arange(2, device=device)
    tasks = family.sample(plan.split, probe)
    memory = agent.start(clues(agent, family, plan.split, tasks), trial, Rows.of(plan.eval_seed, probe))
    row_bytes = sum(leaf.nbytes for leaf in tree.leaves((memory, tasks.params))) // 2 + 64
    rows = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // row_bytes))
    for first in range(0, plan.trials, rows):
        yield torch.arange(first, min(first + rows, plan.trials), device=device)


def _with_success(values: dict[str, Tensor], totals: EpisodeTotals) -> dict[str, Tensor]:
    return values if totals.success is None else values | {"success": totals.success.double()}


class _Detail:
    """Step detail of the first trials of a chunk."""

    def __init__(self, ids: Int[Tensor, " B"]) -> None:
        self.rows = int((ids < DETAILED_TRIALS).sum())
        self.ids = ids[: self.rows].cpu().numpy()
        self.parts: list[tuple[int, int, Tensor, Tensor]] = []

    def visitor(self, episode: int) -> Visit:
        def visit(t: int, step: Step) -> None:
            self.parts.append((episode, t, step.action[: self.rows].clone(), step.reward[: self.rows].clone()))

        return visit

    def arrays(self) -> dict[str, np.ndarray]:
        """One entry a transition: trial, episode, step, action, reward."""
        n = self.rows
        return {
            "trial": np.tile(self.ids, len(self.parts)),
            "episode": np.repeat(np.array([p[0] for p in self.parts]), n),
            "step": np.repeat(np.array([p[1] for p in self.parts]), n),
            "action": torch.cat([p[2] for p in self.parts]).cpu().numpy(),
            "reward": torch.cat([p[3] for p in self.parts]).cpu().numpy(),
        }


# --- the boundary: a broken agent or family is named, with its row and step -------------------------------------------


def _check_decision(decision: Decision, family: TaskFamily, rows: int, episode: int, t: int) -> None:
    action, space = decision.action, family.action
    want = (rows,) if isinstance(space, Discrete) else (rows, len(space.low))
    if tuple(action.shape) != want:
        raise ContractError(
            f"act returned actions of shape {tuple(action.shape)} at episode {episode}, step {t}; {family.id} "
            f"expects {want}: one action a trial."
        )
    if isinstance(space, Discrete):
        if action.dtype != torch.int64:
            raise ContractError(f"act returned {action.dtype} actions; {family.id} expects int64 in 0..{space.n - 1}.")
        low, high = (int(v) for v in torch.aminmax(action))
        if low < 0 or high >= space.n:
            row = int(((action < 0) | (action >= space.n)).nonzero()[0])
            raise ContractError(
                f"act returned action {int(action[row])} in row {row} at episode {episode}, step {t}; {family.id} has "
                f"actions 0..{space.n - 1}."
            )
    elif not bool(torch.isfinite(action).all()):
        row = int((~torch.isfinite(action).all(-1)).nonzero()[0])
        raise ContractError(f"act returned a NaN or infinite action in row {row} at episode {episode}, step {t}.")


def _check_step(step: Step, family: TaskFamily, episode: int, t: int) -> None:
    if step.reward.shape != step.terminated.shape:
        raise ContractError(
            f"{family.id} returned rewards of shape {tuple(step.reward.shape)} at episode {episode}, step {t}; "
            f"expected {tuple(step.terminated.shape)}: one reward a trial."
        )
    if not bool(torch.isfinite(step.reward.sum())):
        bad = (~torch.isfinite(step.reward)).nonzero()
        row = int(bad[0]) if len(bad) else -1
        raise ContractError(
            f"{family.id} returned reward {float(step.reward[row])} in row {row} at episode {episode}, step {t}; "
            "rewards must be finite numbers."
        )
