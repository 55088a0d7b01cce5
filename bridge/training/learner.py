"""The parts that learners share: counters, a state that can be saved, seeded initialisation, learning rates, cards."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from bridge.errors import DivergenceError
from bridge.protocol import Card, ClueKind
from bridge.tasks.base import TaskFamily
from bridge.training.workers import Workers

_COUNTERS = ("env_steps", "grad_steps", "updates")


class CheckpointedLearner:
    """Base of learners. The state is that of some attributes and of the counters, which name all noise.

    Args:
        family: the tasks to learn on.
        config: the method's configuration.
        seed: of initial weights, tasks and noise.
        workers: the processes that train together; None: this one alone.
    """

    checkpointed: tuple[str, ...]
    """Attributes with a state of their own: networks, optimisers, statistics."""

    playing: ClassVar[tuple[str, ...]] = ()
    """Those of ``checkpointed`` that the agent is made of; empty: all."""

    env_steps: int = 0
    """Environment steps paid for so far."""
    grad_steps: int = 0
    """Optimiser steps so far."""
    updates: int = 0
    """Calls of ``update`` so far."""

    def __init__(
        self, family: TaskFamily, config: Any, *, seed: int, workers: Workers | None = None
    ) -> None:
        self.family, self.config, self.seed = family, config, seed
        self.workers = workers or Workers()
        with seeded_init(seed):
            self._build()

    def _build(self) -> None:
        """Make all that is trained, and what trains it. Meanwhile torch's global generator is seeded with ``seed``."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bitwise equal restart needs: there is no generator to save."""
        parts = {name: getattr(self, name).state_dict() for name in self.checkpointed}
        return parts | self._counters()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a ``state_dict``."""
        for name in self.checkpointed:
            getattr(self, name).load_state_dict(state[name])
        self._count(state)

    def agent_state(self) -> dict[str, Any]:
        """The part of the state that the agent is made of, and the counters. Training cannot go on from it."""
        parts = {}
        for name in self.playing or self.checkpointed:
            part = getattr(self, name)
            nested = isinstance(part, CheckpointedLearner)
            parts[name] = part.agent_state() if nested else part.state_dict()
        return parts | self._counters()

    def load_agent_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``agent`` needs, from an ``agent_state`` or a ``state_dict``."""
        for name in self.playing or self.checkpointed:
            part = getattr(self, name)
            load = (
                part.load_agent_state
                if isinstance(part, CheckpointedLearner)
                else part.load_state_dict
            )
            load(state[name])
        self._count(state)

    def _counters(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in _COUNTERS}

    def _count(self, state: Mapping[str, Any]) -> None:
        for name in _COUNTERS:
            setattr(self, name, state[name])


@contextmanager
def seeded_init(seed: int) -> Generator[None]:
    """Inside this context torch's global generator is seeded with ``seed``; afterwards it is as it was before."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def share_of_rate(spent: float, warm_up: float) -> float:
    """Learning rate over its highest: it rises in the share ``warm_up`` of the budget, and falls linearly to zero."""
    left = max(0.0, 1 - spent)
    return min(left, (spent + 1e-3) / warm_up) if warm_up else left


def backward(
    loss: Float[Tensor, ""],
    optimizer: Optimizer,
    parameters: Sequence[nn.Parameter],
    workers: Workers,
) -> None:
    """Replace the gradients of ``parameters``, all that ``optimizer`` has, by those of ``loss``, averaged over the
    processes. Other parameters get none."""
    optimizer.zero_grad()
    loss.backward(inputs=parameters)
    workers.average_gradients(parameters)


def descend_if_finite(
    loss: Float[Tensor, ""],
    optimizer: Optimizer,
    parameters: Sequence[nn.Parameter],
    max_norm: float,
    workers: Workers,
) -> Float[Tensor, ""]:
    """A gradient step on ``loss``: ``backward``, then the optimiser's step along gradients scaled down to ``max_norm``.

    No step is taken if the gradient is not finite.

    Returns:
        The norm of the gradient before it was scaled.
    """
    backward(loss, optimizer, parameters, workers)
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    if bool(norm.isfinite()):
        optimizer.step()
    return norm


def descend(
    loss: Float[Tensor, ""],
    optimizer: Optimizer,
    parameters: Sequence[nn.Parameter],
    max_norm: float,
    workers: Workers,
) -> Float[Tensor, ""]:
    """``descend_if_finite``, for methods that cannot do without a step.

    Raises:
        DivergenceError: the loss or its gradient is not finite.
    """
    norm = descend_if_finite(loss, optimizer, parameters, max_norm, workers)
    if not (loss + norm).isfinite():
        raise DivergenceError("a loss or its gradient is no longer a number.")
    return norm


def mean_metrics(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric over some gradient steps."""
    totals = dict.fromkeys(steps[0], 0.0)
    for metrics in steps:
        for name, value in metrics.items():
            totals[name] += value
    return {name: total / len(steps) for name, total in totals.items()}


def trained_card(
    method: str,
    parameters: Iterable[nn.Parameter],
    *,
    supervision: str = "reward",
    clue: ClueKind = "nothing",
) -> Card:
    """The card of an agent at the end of training, of which all ``parameters`` were trained."""
    count = sum(p.numel() for p in parameters)
    return Card(
        method=method,
        clue=clue,
        supervision=supervision,
        selection_rule="last",
        params_total=count,
        params_trained=count,
    )
