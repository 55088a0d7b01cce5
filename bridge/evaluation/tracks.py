"""The three tracks: how a chunk of trials is played, and when it is scored.

* ``O``, own exploration: the trial is played and every episode counts.
* ``C``, common context: every method observes the same transitions, made by one behaviour agent, then is scored frozen.
* ``F``, free adaptation: the method explores for some episodes, then is scored frozen.

A frozen episode is played from a fork of the memory: ``begin``, ``act`` and ``observe`` run, ``adapt`` does not, and
the fork is dropped.

Shape letters: B trials of the chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bridge import memory as tree
from bridge.evaluation.footprint import adapted, misfits
from bridge.evaluation.policies import Doubts, Explored, Further, Policies, moved, policies
from bridge.evaluation.sums import Score
from bridge.noise import TrialNoise
from bridge.play import EpisodeTotals, Played, play_episode, play_trial, seen_by
from bridge.protocol import Agent, Decision, Step, Trial
from bridge.tasks.base import Discrete, TaskFamily, Tasks


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """Trials that are played together.

    Attributes:
        agent: the agent.
        family: the simulator.
        tasks: the task of each trial.
        memory: the agent's memory at the start of the trials.
        noise: the trials' noise.
        trial: number of episodes (tracks C and F: shots), and most steps of each.
        points: curve points, in episodes.
        adapting: number of trials that adapt at a time.
        clock: measures the cost of that name.
        context: track C: the transitions of each episode of the context.
        context_noise: the noise that the context was played under.
        further: tracks C and F: one more episode, on which policies are kept at each curve point; None: they are not.
        signs: names of the signs of what the agent makes of its shots that are kept, too.
        on_step: called with the numbers of episode and step and the transition, for each step that explores.
    """

    agent: Agent
    family: TaskFamily
    tasks: Tasks
    memory: Any
    noise: TrialNoise
    trial: Trial
    points: tuple[int, ...]
    adapting: int
    clock: Callable[[], float]
    context: list[list[Step]] | None = None
    context_noise: TrialNoise | None = None
    further: Further | None = None
    signs: Collection[str] = ()
    on_step: Callable[[int, int, Step], None] | None = None

    def play(
        self, adapt: Callable[[Any, int, bool], Any], explored: Explored | None = None
    ) -> Iterator[Played]:
        """Play the trial, or show the context, with ``adapt`` between episodes. Steps are added to ``explored``."""

        def on_step(episode: int, t: int, step: Step, decision: Decision) -> None:
            if self.on_step:
                self.on_step(episode, t, step)
            if explored:
                explored.add(episode, t, step, decision)

        return play_trial(
            self.agent,
            self.family,
            self.tasks,
            self.memory,
            self.noise,
            self.trial,
            context=self.context,
            context_noise=self.context_noise,
            adapt=adapt,
            on_step=on_step,
        )

    def adapt(self, memory: Any, episode: int, last: bool, *, named_from: int) -> Any:
        """Adapt to an episode, some trials at a time; the noise is named by numbers of episodes from ``named_from``."""
        rng = self.noise.agent.at(named_from + episode, "adapt")
        return adapted(self.agent, memory, rng, self.adapting, episode=episode, last=last)

    def policies_after(self, memory: Any, shots: int, further: Further) -> Policies:
        """The policies on a further episode after a number of shots. Consumes ``memory``."""
        assert isinstance(self.family.action, Discrete)  # the evaluator has checked it
        steps = seen_by(self.agent, self.family, self.tasks, [further.steps], further.noise, 0)
        rng, horizon = self.noise.agent.at("policies"), self.trial.horizon
        return policies(
            self.agent, self.family.action.n, memory, steps, rng, episode=shots, horizon=horizon
        )

    def signs_after(
        self, memory: Any, shots: int, further: Further, explored: Explored, start: Any
    ) -> Policies:
        """The policies on a further episode after a number of shots, with their signs. Consumes ``memory``.

        Args:
            memory: after the shots.
            shots: their number.
            further: the episode.
            explored: the shots, if the agent explored them itself.
            start: the memory at the start of the trials. It is only read.
        """
        signs = {}
        if "likelihood" in self.signs and not self.context:
            signs["likelihood"] = explored.likelihood
        if "misfit" in self.signs and isinstance(self.agent, Doubts):
            signs["misfit"] = misfits(self.agent, memory, self.adapting)
        found = self.policies_after(memory, shots, further)
        if "order" in self.signs:
            backward = self._reversed(start, explored, shots)
            signs["order"] = moved(found, self.policies_after(backward, shots, further))
        return found._replace(signs=signs)

    def _reversed(self, start: Any, explored: Explored, shots: int) -> Any:
        """The memory after some shots that are observed in reverse order."""
        memory = tree.fork(start)
        if not shots:
            return memory
        adapt = partial(self.adapt, named_from=1)
        for played in play_trial(
            self.agent,
            self.family,
            self.tasks,
            memory,
            self.noise,
            self.trial._replace(episodes=shots),
            context=(self.context or explored.episodes)[:shots],
            context_noise=self.context_noise if self.context else self.noise,
            order=range(shots)[::-1],
            adapt=adapt,
        ):
            memory = played.memory
        return adapt(memory, shots - 1, True)

    def optima(self, episodes: int) -> list[Tensor] | None:
        """The largest expected return of each of the first episodes given its task; all the same if none changes. None
        if it is not known."""
        if not self.family.solved:
            return None
        unchanged = self.family.optimal_return(self.tasks, self.trial)
        tasks = (self.family.task_of(self.tasks, episode) for episode in range(episodes))
        return [
            unchanged if now is self.tasks else self.family.optimal_return(now, self.trial)
            for now in tasks
        ]

    def costs(self, memory: Any, transitions: Tensor, spent: float) -> dict[str, Tensor]:
        """The costs of each trial. What ``clock`` counted for all of them is shared evenly."""
        clock = torch.full_like(transitions, spent / len(transitions), dtype=torch.float64)
        tally = getattr(self.agent, "tally", None)
        return {"transitions": transitions, "clock": clock} | (tally(memory) if tally else {})


def explored(chunk: Chunk) -> Iterator[Score]:
    """Track O: play the trial, and score at each curve point what it has earned so far."""
    optima = chunk.optima(chunk.trial.episodes)
    earned = regret = transitions = torch.zeros(
        len(chunk.noise), device=chunk.noise.device
    ).double()
    env_steps, began = 0, chunk.clock()
    for episode, memory, totals in chunk.play(partial(chunk.adapt, named_from=0)):
        earned = earned + totals.reward
        if optima:
            regret = regret + (optima[episode].double() - totals.expected)
        transitions = transitions + totals.steps
        env_steps += chunk.trial.horizon
        if episode + 1 in chunk.points:
            metrics = _metrics(totals, trial_return=earned, regret=regret if optima else None)
            costs = chunk.costs(memory, transitions, float(chunk.clock() - began))
            yield Score(chunk.points.index(episode + 1), env_steps, metrics, costs)
            env_steps = 0


def frozen(chunk: Chunk) -> Iterator[Score]:
    """Tracks C and F: at each curve point, adapt a fork of the memory and score one frozen episode."""
    optima = chunk.optima(chunk.trial.episodes + 1)
    transitions = torch.zeros(len(chunk.noise), device=chunk.noise.device)
    informed, earned = torch.zeros_like(transitions, dtype=torch.bool), transitions
    env_steps, spent = 0, 0.0
    adapt = partial(chunk.adapt, named_from=1)
    explored = Explored(transitions.float()) if chunk.signs else None
    start = tree.fork(chunk.memory) if chunk.signs else None

    def score(memory: Any, shots: int) -> Score:
        began = chunk.clock()
        memory = tree.fork(memory)
        if shots:
            memory = adapt(memory, shots - 1, True)
        aside = tree.fork(memory) if chunk.further else None
        _, totals = play_episode(
            chunk.agent,
            chunk.family,
            chunk.tasks,
            memory,
            chunk.noise.at("score"),
            episode=shots,
            horizon=chunk.trial.horizon,
            explore=False,
        )
        regret = optima[shots] - totals.expected if optima else None
        metrics = _metrics(totals, regret=regret)
        if chunk.context:
            metrics["informed_return"] = torch.where(informed, totals.reward, torch.nan)
        costs = chunk.costs(memory, transitions, spent + chunk.clock() - began)
        paid, kept = env_steps + chunk.trial.horizon, None
        if chunk.further:  # after the costs, of which it is none
            kept = (
                chunk.signs_after(aside, shots, chunk.further, explored, start)
                if explored
                else chunk.policies_after(aside, shots, chunk.further)
            )._replace(earned=earned, optimum=optima[shots] if optima else None)
        return Score(chunk.points.index(shots), paid, metrics, costs, kept)

    yield score(chunk.memory, 0)
    began = chunk.clock()
    for episode, memory, totals in chunk.play(adapt, explored):
        spent += chunk.clock() - began
        env_steps += chunk.trial.horizon
        transitions, earned = transitions + totals.steps, earned + totals.reward
        if totals.success is not None:
            informed = informed | totals.success
        if episode + 1 in chunk.points:
            yield score(memory, episode + 1)
            env_steps = 0
        began = chunk.clock()


def _metrics(totals: EpisodeTotals, **others: Tensor | None) -> dict[str, Tensor]:
    """The metrics of an episode, and others that are known."""
    known = {name: value for name, value in others.items() if value is not None}
    metrics = {"episode_return": totals.reward} | known
    if totals.success is not None:
        metrics["success"] = totals.success.double()
    return metrics
