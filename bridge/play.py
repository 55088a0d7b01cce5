"""One episode, played: the only loop over steps, and the boundary where a broken agent or family is caught.

Every row plays whole episodes; a row that ends early idles until all have ended. Noise is named by episode and step.

Shape letters: B trials, H steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge import memory as tree
from bridge.errors import ContractError
from bridge.noise import TrialNoise
from bridge.protocol import Agent, Card, ClueKind, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Discrete, TaskFamily, Tasks


class EpisodeTotals(NamedTuple):
    """What one episode gave each row."""

    reward: Float[Tensor, " B"]
    expected: Float[Tensor, " B"]
    success: Bool[Tensor, " B"] | None
    steps: Int[Tensor, " B"]
    """Steps that were lived."""


Visit = Callable[[int, Step], None]


def play_episode(
    agent: Agent,
    family: TaskFamily,
    tasks: Tasks,
    memory: Any,
    noise: TrialNoise,
    *,
    episode: int,
    horizon: int,
    explore: bool = True,
    visit: Visit | None = None,
) -> tuple[Any, EpisodeTotals]:
    """One episode of B rows, from ``begin`` to the last ``observe``; rows that end early idle until all have ended.

    ``visit(t, step)`` sees every transition. Noise is named by episode and step under ``noise``'s own name.
    """
    env, own = noise.env.at("env", episode), noise.agent.at(episode)
    memory = agent.begin(memory, own.at("begin"), episode=episode)
    state, obs = family.reset(tasks, env.at("reset"))
    reward = torch.zeros(len(noise), device=noise.device)
    expected = torch.zeros_like(reward)
    steps = torch.zeros(len(noise), dtype=torch.int64, device=noise.device)
    success: Tensor | None = None
    live = torch.ones_like(reward, dtype=torch.bool) if family.ends_early else None
    for t in range(horizon):
        decision = agent.act(memory, obs, own.at("act", t), explore=explore)
        _check_decision(decision, family, len(noise), episode, t)
        state, step = transition(
            family, tasks, state, obs, decision.action, env.at("step", t), t + 1 == horizon, live
        )
        _check_step(step, family, episode, t)
        memory = agent.observe(memory, step, decision.carry)
        obs = step.next_obs
        reward += step.reward
        steps += 1 if live is None else live
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
    return memory, EpisodeTotals(reward, expected, success, steps)


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
    return tree.where(live, outcome.state, state), Step(
        *tree.where(live, step[:6], stood[:6]), live
    )


def record_context(
    behaviour: Agent, family: TaskFamily, split: str, tasks: Tasks, noise: TrialNoise, trial: Trial
) -> list[list[Step]]:
    """The transitions of a whole trial of ``behaviour``, one list of steps an episode."""
    memory = behaviour.start(clues(behaviour, family, split, tasks), trial, noise.agent.at("start"))
    episodes = []
    for episode in range(trial.episodes):
        steps: list[Step] = []
        memory, _ = play_episode(
            behaviour,
            family,
            tasks,
            memory,
            noise,
            episode=episode,
            horizon=trial.horizon,
            visit=lambda _t, step, steps=steps: steps.append(step),
        )
        memory = behaviour.adapt(
            memory, noise.agent.at(episode, "adapt"), episode=episode, last=False
        )
        episodes.append(steps)
    return episodes


def show(agent: Agent, memory: Any, steps: list[Step], rng: Rows, *, episode: int) -> Any:
    """Show an agent one episode that it did not play: ``begin``, then ``absorb`` where it has one, else ``observe``."""
    return absorbed(agent, agent.begin(memory, rng, episode=episode), steps)


def absorbed(agent: Agent, memory: Any, steps: list[Step]) -> Any:
    """The memory after some steps of one episode: by ``absorb`` where an agent has one, else by ``observe``."""
    absorb = getattr(agent, "absorb", None)
    if absorb is not None:
        return absorb(memory, steps)
    for step in steps:
        memory = agent.observe(memory, step)
    return memory


def clues(agent: Agent, family: TaskFamily, split: str, tasks: Tasks) -> Clues:
    """What ``agent`` asks to be told, where it can be."""
    kind = clue_given(agent.card, family, split)
    if kind == "task":
        return Clues(task=tasks)
    if kind == "id":
        return Clues(task_id=tasks.index)
    return Clues()


def clue_given(card: Card, family: TaskFamily, split: str) -> ClueKind:
    """The kind of clue that an agent gets on ``split``: an id only on a fixed set of training tasks."""
    known = split == "train" and family.tasks > 0
    return "nothing" if card.clue == "id" and not known else card.clue


# --- the boundary: a broken agent or family is named, with its row and step -------------------------------------------


def _check_decision(
    decision: Decision, family: TaskFamily, rows: int, episode: int, t: int
) -> None:
    action, space = decision.action, family.action
    want = (rows,) if isinstance(space, Discrete) else (rows, len(space.low))
    if tuple(action.shape) != want:
        raise ContractError(
            f"act returned actions of shape {tuple(action.shape)} at episode {episode}, step {t}; {family.id} "
            f"expects {want}: one action a trial."
        )
    if isinstance(space, Discrete):
        if action.dtype != torch.int64:
            raise ContractError(
                f"act returned {action.dtype} actions; {family.id} expects int64 in 0..{space.n - 1}."
            )
        low, high = (int(v) for v in torch.aminmax(action))
        if low < 0 or high >= space.n:
            row = int(((action < 0) | (action >= space.n)).nonzero()[0])
            raise ContractError(
                f"act returned action {int(action[row])} in row {row} at episode {episode}, step {t}; {family.id} has "
                f"actions 0..{space.n - 1}."
            )
    elif not bool(torch.isfinite(action).all()):
        row = int((~torch.isfinite(action).all(-1)).nonzero()[0])
        raise ContractError(
            f"act returned a NaN or infinite action in row {row} at episode {episode}, step {t}."
        )


def _check_step(step: Step, family: TaskFamily, episode: int, t: int) -> None:
    if step.reward.shape != step.terminated.shape:
        raise ContractError(
            f"{family.id} returned rewards of shape {tuple(step.reward.shape)} at episode {episode}, step {t}; "
            f"expected {tuple(step.terminated.shape)}: one reward a trial."
        )
    if not bool(torch.isfinite(step.reward.sum())) and len(
        bad := (~torch.isfinite(step.reward)).nonzero()
    ):
        row = int(bad[0])
        raise ContractError(
            f"{family.id} returned reward {float(step.reward[row])} in row {row} at episode {episode}, step {t}; "
            "rewards must be finite numbers."
        )
