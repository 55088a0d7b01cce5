"""The one evaluation loop: every method of both tracks plays the same tasks under the same environment noise.

Every row plays the same number of whole episodes, so quick successes are never over-counted. ``tracks.py`` has what is
played and when it is scored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from bridge.errors import ContractError, UserError
from bridge.evaluation.assignment import Assignment
from bridge.evaluation.footprint import MEMORY, fit
from bridge.evaluation.observers import Observer, StepDetail
from bridge.evaluation.plan import Plan
from bridge.evaluation.policies import Further, PolicyDetail
from bridge.evaluation.sums import Evaluation
from bridge.evaluation.tracks import Chunk, explored, frozen
from bridge.noise import TrialNoise
from bridge.play import clues, record_context
from bridge.protocol import Agent, Step
from bridge.tasks.base import CONTEXT_AXES, Discrete, TaskFamily


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
    observers: Sequence[Observer] = (),
    policies: PolicyDetail | None = None,
) -> Evaluation:
    """Play ``plan`` and return its sums. Gradients are off; an agent that learns in ``adapt`` turns them on for itself.

    Args:
        agent: the agent that is evaluated.
        family: the simulator and its tasks.
        plan: split, number of trials, track.
        behaviour: the agent that makes the common context of track C, and the episode on which policies are kept.
        device: device of the tasks.
        progress: called with the number of environment steps just played.
        clock: measures the cost of that name: seconds, or a counter of operations.
        memory_limit: bytes that play may need on top of what the process needs anyway. Trials are played in chunks that
            fit; the size of chunks changes no number.
        observers: see every step of exploration; the caller reads their rows.
        policies: keeps the policies after the shots of tracks C and F; their rows are in the result.

    Raises:
        UserError: the plan does not fit the family.
        ContractError: the agent or the family returned a NaN or a wrong shape (the message names the row and the step),
            or a learned agent asks for the task.
    """
    _check(agent, family, plan, behaviour, policies)
    trial, points = plan.trial(family), plan.curve_points(family)
    if plan.track == "O":
        play, longest, detail = explored, trial, StepDetail()
        observers = (*observers, detail)
    else:  # a frozen episode comes on top of the shots
        play, longest, detail = frozen, trial._replace(episodes=trial.episodes + 1), None
    assignment = Assignment.of(family, plan)
    result = Evaluation.empty(plan, trial, points, assignment.blocks, assignment.parts)
    began = time.perf_counter()
    size = fit(
        agent,
        family,
        plan.split,
        longest,
        plan.trials,
        limit=memory_limit,
        forks=0 if plan.track == "O" else _forks(policies),
        shown_by=behaviour if plan.track == "C" or (policies and policies.signs) else None,
        device=device,
    )
    for ids in torch.arange(plan.trials, device=device).split(size.rows):
        tasks = family.sample(plan.split, assignment.task(ids))
        noise = TrialNoise.of(plan.eval_seed, ids)
        clue = clues(agent, family, plan.split, tasks)
        memory = agent.start(clue, longest, noise.agent.at("start"))
        context, further, context_noise = None, None, noise.at("context")
        if plan.track == "C" and behaviour is not None:
            context = record_context(behaviour, family, plan.split, tasks, context_noise, trial)
        if policies and behaviour is not None:
            further = Further.of(behaviour, family, plan.split, tasks, noise.at("further"))
        chunk = Chunk(
            agent=agent,
            family=family,
            tasks=tasks,
            memory=memory,
            noise=noise,
            trial=trial,
            points=points,
            adapting=size.adapting,
            clock=clock,
            context=context,
            context_noise=context_noise,
            further=further,
            signs=policies.signs if policies else (),
            on_step=partial(_notify, observers, ids) if observers else None,
        )
        cells = assignment.cell(ids).cpu()
        for score in play(chunk):
            result.add(score, cells)
            if policies and score.policies:
                shots, regret = points[score.point], score.metrics["regret"]
                policies.keep(ids, shots, score.policies, regret)
            if progress:
                progress(score.env_steps * len(ids))
    result.seconds = time.perf_counter() - began
    result.cost = {name: total / plan.trials for name, total in result.cost.items()}
    if detail is not None:
        result.detail = detail.rows()
    if policies is not None:
        result.policies = policies.rows()
    return result


def _forks(policies: PolicyDetail | None) -> int:
    """The number of copies of a memory at a time: one is scored, one observes a further episode; signs need that of the
    start, and one that observes the shots in reverse order."""
    return 1 if policies is None else 4 if policies.signs else 2


def _notify(observers: Sequence[Observer], ids: Tensor, episode: int, t: int, step: Step) -> None:
    for observer in observers:
        observer.on_step(ids, episode, t, step)


def _check(
    agent: Agent,
    family: TaskFamily,
    plan: Plan,
    behaviour: Agent | None,
    policies: PolicyDetail | None,
) -> None:
    """Check that the agent and the plan fit the track.

    Raises:
        ContractError: a learned agent asks for the task.
        UserError: the plan lacks a behaviour agent, its split moves a context that its track does not show, or its
            policies cannot be kept.
    """
    if agent.card.clue == "task" and not agent.card.reference:
        raise ContractError(
            f"{agent.card.method} asks to be given the task; only references may be. Use another clue."
        )
    if plan.track == "C" and behaviour is None:
        raise UserError(
            "Track C shows every method the same context: name the behaviour agent that makes it."
        )
    if plan.track != "C" and family.split(plan.split).axis in CONTEXT_AXES:
        raise UserError(
            f"{plan.split} changes what is shown, and only track C shows anything. Ask for track C."
        )
    if policies and not family.solved:
        raise UserError(
            f"Policies are kept with the regret of an episode, and that of {family.id} is not known. Choose another "
            "family, such as bandit."
        )
    if policies and (plan.track == "O" or not behaviour or not isinstance(family.action, Discrete)):
        raise UserError(
            f"Policies are kept on tracks C and F, on an episode of a behaviour agent, and of discrete actions; found "
            f"track {plan.track} of {family.id}, with {behaviour.card.method if behaviour else 'no behaviour agent'}."
        )
