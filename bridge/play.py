"""Playing: one episode, which is the only loop over steps, and one trial, which is the only loop over episodes.

Every row plays whole episodes; a row that ends early idles until all have ended. Noise is named by episode and step.

Shape letters: B trials, K episodes, H steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge import memory as tree
from bridge.contract_checks import check_decision, check_observation, check_step
from bridge.noise import TrialNoise
from bridge.protocol import Agent, Card, ClueKind, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily, Tasks
from bridge.tasks.perception import Senses, observed


class EpisodeTotals(NamedTuple):
    """Sums over the steps of one episode, for each row."""

    reward: Float[Tensor, " B"]
    expected: Float[Tensor, " B"]
    """Sum of mean rewards (``TaskFamily.expected_reward``)."""
    success: Bool[Tensor, " B"] | None
    """True if any step succeeded; None if the family does not define success."""
    steps: Int[Tensor, " B"]
    """Number of steps until the row's episode ended."""

    @classmethod
    def zeros(cls, rows: int, device: torch.device) -> EpisodeTotals:
        """The totals before the first step."""
        zero = torch.zeros(rows, device=device)
        return cls(zero, zero, None, torch.zeros(rows, dtype=torch.int64, device=device))

    def plus(self, family: TaskFamily, tasks: Tasks, step: Step) -> EpisodeTotals:
        """The totals with one more step. A row that has ended adds nothing."""
        expected, success = family.expected_reward(tasks, step), family.success(tasks, step)
        if step.live is not None:
            expected = torch.where(step.live, expected, 0.0)
            success = None if success is None else success & step.live
        if success is not None and self.success is not None:
            success = success | self.success
        return EpisodeTotals(
            self.reward + step.reward,
            self.expected + expected,
            success,
            self.steps + (1 if step.live is None else step.live),
        )


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
    visit: Callable[[int, Step, Decision], None] | None = None,
) -> tuple[Any, EpisodeTotals]:
    """Play one episode of B rows, from ``begin`` to the last ``observe``. Returns the memory and the totals.

    Noise is named by episode and step below the name of ``noise`` itself.

    Args:
        agent: the agent.
        family: the simulator.
        tasks: one task a row.
        memory: the agent's memory, which is consumed.
        noise: the noise of the trials.
        episode: number of the episode in its trial.
        horizon: most steps of an episode.
        explore: passed to ``act``; False in frozen scoring.
        visit: called with the number of each step, its transition, as it is (``bridge/tasks/perception.py``), and the
            decision that led to it.

    Raises:
        ContractError: the agent or the family returned a wrong shape, a wrong type or a number that is not finite.
    """
    env, own = noise.env.at("env", episode), noise.agent.at(episode)
    tasks = family.task_of(tasks, episode)
    senses = Senses.of(family, tasks, env.at("senses"), agent.card)
    memory = agent.begin(memory, own.at("begin"), episode=episode)
    state, obs = family.reset(tasks, env.at("reset"))
    check_observation(obs, family, f"at the start of episode {episode}")
    seen = senses.first(obs) if senses else obs
    totals = EpisodeTotals.zeros(len(noise), noise.device)
    live = torch.ones_like(totals.steps, dtype=torch.bool) if family.ends_early else None
    for t in range(horizon):
        decision = agent.act(memory, seen, own.at("act", t), explore=explore)
        check_decision(decision, family, len(noise), episode, t)
        state, step = transition(
            family, tasks, state, obs, decision.action, env.at("step", t), t + 1 == horizon, live
        )
        check_step(step, family, episode, t)
        sensed = senses.step(t, step) if senses else step
        memory = agent.observe(memory, sensed.without_success, decision.carry)
        obs, seen = step.next_obs, sensed.next_obs
        totals = totals.plus(family, tasks, step)
        if visit:
            visit(t, step, decision)
        if live is not None:
            live = live & ~step.terminated & ~step.truncated
            if not bool(live.any()):
                break
    return memory, totals


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
    """One step of the simulator: the next state and the transition.

    Rows that are not ``live`` keep their state and observation and get no reward. If ``out_of_time``, rows that do not
    terminate are truncated.
    """
    outcome = family.step(tasks, state, action, noise)
    ends = outcome.ends(out_of_time)
    step = Step(obs, action, outcome.reward, outcome.obs, *ends, succeeded=outcome.succeeded)
    if live is None:
        return outcome.state, step
    return tree.where(live, outcome.state, state), only(live, step, obs)


def only(live: Bool[Tensor, " B"], step: Step, here: Tensor) -> Step:
    """``step`` in live rows; the others stand still ``here``, with no reward and no end."""
    never = torch.zeros_like(live)
    idle = Step(here, step.action, torch.zeros_like(step.reward), here, never, never)
    succeeded = None if step.succeeded is None else step.succeeded & live
    return Step(*tree.where(live, step[:6], idle[:6]), live=live, succeeded=succeeded)


class Played(NamedTuple):
    """An episode of a trial, at the moment before the agent adapts to it."""

    episode: int
    memory: Any
    totals: EpisodeTotals


Adapt = Callable[[Any, int, bool], Any]
"""``Agent.adapt`` with its noise: called with the memory (which is consumed), the episode's number and ``last``."""


def play_trial(
    agent: Agent,
    family: TaskFamily,
    tasks: Tasks,
    memory: Any,
    noise: TrialNoise,
    trial: Trial,
    *,
    context: Sequence[list[Step]] | None = None,
    context_noise: TrialNoise | None = None,
    order: Sequence[int] | None = None,
    adapt: Adapt | None = None,
    on_step: Callable[[int, int, Step, Decision], None] | None = None,
) -> Iterator[Played]:
    """Play the episodes of a trial in turn, with ``adapt(last=False)`` between them but not after the last one.

    Yields after each episode, with the memory that is not yet adapted to it. The next item is made from that memory:
    a caller that uses it further (to adapt and score it, for example) forks it first. Play begins with the first
    ``next``.

    Args:
        agent: the agent.
        family: the simulator.
        tasks: one task a row.
        memory: the agent's memory at the start of the trial, which is consumed.
        noise: the noise of the trials.
        trial: number of episodes, and most steps of each.
        context: the transitions of each episode, as they are. If given, the agent observes them instead of playing;
            totals are those of the context.
        context_noise: the noise that the context was played under, and with it what was observed of it. None:
            ``noise``.
        order: numbers of the episodes of the context in the order in which they are shown. None: as they were played.
        adapt: adapts the memory to an episode. None: ``agent.adapt`` with the noise ``at(episode, "adapt")``.
        on_step: called with the numbers of episode and step, the transition and the decision, for each step that is
            played.

    Raises:
        ContractError: as ``play_episode``.
    """

    def agent_adapt(memory: Any, episode: int, last: bool) -> Any:
        return agent.adapt(memory, noise.agent.at(episode, "adapt"), episode=episode, last=last)

    adapt = adapt or agent_adapt
    for episode in range(trial.episodes):
        if episode:
            memory = adapt(memory, episode - 1, False)
        if context is None:
            memory, totals = play_episode(
                agent,
                family,
                tasks,
                memory,
                noise,
                episode=episode,
                horizon=trial.horizon,
                visit=partial(on_step, episode) if on_step else None,
            )
        else:
            shown = episode if order is None else order[episode]
            rng, now = noise.agent.at(episode, "begin"), family.task_of(tasks, shown)
            seen = seen_by(agent, family, tasks, context, context_noise or noise, shown)
            memory = show(agent, memory, seen, rng, episode=episode)
            totals = EpisodeTotals.zeros(len(noise), noise.device)
            for step in context[shown]:
                totals = totals.plus(family, now, step)
        yield Played(episode, memory, totals)


def seen_by(
    agent: Agent,
    family: TaskFamily,
    tasks: Tasks,
    context: Sequence[list[Step]],
    context_noise: TrialNoise,
    episode: int,
) -> list[Step]:
    """The steps of one episode of a context as an agent observes them; it was played under ``context_noise``."""
    senses = context_noise.env.at("env", episode, "senses")
    steps = [step.without_success for step in context[episode]]
    return observed(steps, family, family.task_of(tasks, episode), senses, agent.card)


def record_context(
    behaviour: Agent, family: TaskFamily, split: str, tasks: Tasks, noise: TrialNoise, trial: Trial
) -> list[list[Step]]:
    """The transitions of a whole trial of ``behaviour``, one list of steps an episode, each step as it is."""
    memory = behaviour.start(clues(behaviour, family, split, tasks), trial, noise.agent.at("start"))
    episodes: list[list[Step]] = [[] for _ in range(trial.episodes)]

    def record(episode: int, _t: int, step: Step, _decision: Decision) -> None:
        episodes[episode].append(step)

    for _ in play_trial(behaviour, family, tasks, memory, noise, trial, on_step=record):
        pass
    return episodes


def show(agent: Agent, memory: Any, steps: list[Step], rng: Rows, *, episode: int) -> Any:
    """The memory after an episode that the agent observes instead of playing: ``begin``, then ``absorbed``."""
    return absorbed(agent, agent.begin(memory, rng, episode=episode), steps)


def absorbed(agent: Agent, memory: Any, steps: list[Step]) -> Any:
    """The memory after some steps of one episode: by ``absorb`` if the agent has it, else by ``observe``."""
    absorb = getattr(agent, "absorb", None)
    if absorb is not None:
        return absorb(memory, steps)
    for step in steps:
        memory = agent.observe(memory, step)
    return memory


def clues(agent: Agent, family: TaskFamily, split: str, tasks: Tasks) -> Clues:
    """The clues of ``agent``'s card, as far as ``split`` has them."""
    kind = clue_given(agent.card, family, split)
    if kind == "task":
        return Clues(task=tasks)
    if kind == "id":
        return Clues(task_id=tasks.index)
    return Clues()


def clue_given(card: Card, family: TaskFamily, split: str) -> ClueKind:
    """The kind of clue that an agent gets on ``split``. There are task ids only on a fixed set of training tasks."""
    has_ids = split == "train" and family.tasks > 0
    return "nothing" if card.clue == "id" and not has_ids else card.clue
