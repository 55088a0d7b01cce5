"""How many trials fit into memory: measured on a few rows, so that large evaluations are played in chunks.

What a trial needs is more than what its memory holds: a step makes copies, gradient steps need activations and an
optimiser's state for every row. So the peak of live tensors is measured while one row, and then three, play a step of
a trial; half of the difference is what a row needs. An agent whose ``adapt`` needs more than that shows, because it
depends on a whole trial, has ``adapt_bytes(trial)``, and the rows of a chunk then adapt a few at a time.

Which rows are played together changes no number: row b alone equals row b in any batch (``docs/architecture.md``).
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import optree
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bridge import memory as tree
from bridge.errors import ContractError, DivergenceError, UserError
from bridge.noise import TrialNoise
from bridge.play import clues, play_episode, record_context, show
from bridge.protocol import Agent, Clues, Trial
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily

MEMORY = 10**9
"""Bytes that playing may need on top of what a process needs anyway, unless another limit is given."""
_LEAST = 64 * 10**6
"""A limit below this is refused: a process's own noise is as large."""
_MOST_ROWS = 1 << 15
_MEASURED = 3
"""Rows that are measured at most; so few trials are played without measuring."""
_SLACK = 2.0
"""Resident bytes per byte of live tensors, at most (measured: 0.8 to 1.7): allocators keep pages that they cannot use,
and later steps of a trial read a longer past than the first."""
_BOOKS = 1 << 10
"""Bytes of a row's own sums, keys and metrics in the evaluator."""
_UNITS = {"mb": 1e6, "gb": 1e9, "tb": 1e12, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40}


class Fit(NamedTuple):
    """How many trials are played at a time, and how many of these adapt at a time."""

    rows: int
    adapting: int


@runtime_checkable
class Heavy(Protocol):
    """An agent that needs more memory in ``adapt`` than it holds."""

    def adapt_bytes(self, trial: Trial) -> int:
        """Bytes that one row needs at most in ``adapt``, beyond its memory."""
        ...


def parse_memory(text: str) -> int:
    """``2GB``, ``500MB``, ``1.5GiB`` in bytes.

    Raises:
        UserError: anything else, less than 64 MB, or more than this machine has.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([mgt]i?b)\s*", text.lower())
    amount = float(found[1]) * _UNITS[found[2]] if found else 0.0
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if not _LEAST <= amount <= most:
        raise UserError(
            f"Memory is an amount from 64MB to the {most / 1e9:.0f}GB of this machine, such as 500MB or 2GB; "
            f"found {text!r}."
        )
    return int(amount)


def fit(
    agent: Agent,
    family: TaskFamily,
    split: str,
    trial: Trial,
    trials: int,
    *,
    limit: int = MEMORY,
    frozen: bool = False,
    shown_by: Agent | None = None,
    device: str | torch.device = "cpu",
) -> Fit:
    """How many trials fit into ``limit`` bytes; at least one, whatever it needs.

    Args:
        agent: the agent that plays.
        family: its simulator.
        split: whose tasks.
        trial: as ``agent`` is told it.
        trials: how many are to be played.
        limit: bytes.
        frozen: whether forks of memories are scored beside the memories.
        shown_by: who makes a context that is kept for the whole trial; None if nothing is shown.
        device: where the tasks live.
    """
    if trials <= _MEASURED:
        return Fit(trials, trials)
    held: list[int] = []

    def step(rows: int) -> Callable[[], object]:
        def play() -> None:
            ids = torch.arange(rows, device=device)
            noise, tasks = TrialNoise.of("footprint", ids), family.sample(split, ids)
            memory = agent.start(clues(agent, family, split, tasks), trial, noise.agent.at("start"))
            kept = 0
            if shown_by is not None:
                (steps,) = record_context(
                    shown_by, family, split, tasks, noise.at("context"), Trial(1, trial.horizon)
                )
                kept = (trial.episodes - 1) * _bytes(steps)
                memory = show(agent, memory, steps, noise.agent.at("shown"), episode=0)
            scorer = tree.fork(memory) if frozen else memory
            play_episode(agent, family, tasks, scorer, noise, episode=0, horizon=1)
            kept += (
                _bytes(memory) if isinstance(agent, Heavy) else 0
            )  # adapted a few at a time, then joined
            held.append(kept // rows)

        return play

    try:
        row = row_bytes(step) + held[-1] + _BOOKS
    except (
        ContractError,
        DivergenceError,
    ):  # the evaluation meets the same fault, and names its own row
        return Fit(min(trials, _MOST_ROWS), trials)
    adapting = agent.adapt_bytes(trial) if isinstance(agent, Heavy) else 0
    return _divided(int(limit / _SLACK), trials, row, adapting)


def _divided(room: int, trials: int, row: int, adapting: int) -> Fit:
    """All trials at once if they fit; else half of ``room`` for the rows, and what they leave for those that adapt."""
    most = min(trials, _MOST_ROWS)
    if most * (row + adapting) <= room:
        return Fit(most, most)
    rows = max(1, min(most, (room // 2 if adapting else room) // row))
    return Fit(rows, max(1, min(rows, (room - rows * row) // adapting)) if adapting else rows)


def adapted(agent: Agent, memory: Any, rng: Rows, at_once: int, *, episode: int, last: bool) -> Any:
    """``agent.adapt`` for all rows of a memory, ``at_once`` at a time."""
    if len(rng) <= at_once:
        return agent.adapt(memory, rng, episode=episode, last=last)
    parts = [slice(first, first + at_once) for first in range(0, len(rng), at_once)]
    return tree.joined(
        [agent.adapt(tree.select(memory, p), rng[p], episode=episode, last=last) for p in parts]
    )


def gradient_step_bytes(
    agent: Agent, trial: Trial, device: torch.device, live: Callable[[Any], Tensor]
) -> int:
    """Bytes that each row needs in ``agent.adapt`` if its buffer is full.

    Args:
        agent: takes one gradient step in ``adapt``.
        trial: the trial after which it adapts.
        device: where the agent's weights are.
        live: the mask of filled steps in the buffer of a memory; it is set to True.
    """

    def full(rows: int) -> Callable[[], object]:
        rng = Rows.of("footprint", torch.arange(rows, device=device))
        memory = agent.start(Clues(), trial, rng)
        live(memory).fill_(True)
        return lambda: agent.adapt(memory, rng, episode=trial.episodes - 1, last=True)

    return row_bytes(full)


@torch.no_grad()
def row_bytes(prepare: Callable[[int], Callable[[], object]]) -> int:
    """Bytes of tensors that each row adds to the peak of what ``prepare(rows)`` returns, called for one row and for 3.

    What is made once for all rows, such as a table that is kept, is no part of it.
    """
    prepare(1)()
    few, many = (_peak(prepare(rows)) for rows in (1, _MEASURED))
    return max(0, many - few) // (_MEASURED - 1)


def _peak(run: Callable[[], object]) -> int:
    with _Live() as live:
        run()
    return live.most


class _Live(TorchDispatchMode):
    """Counts the bytes of all storages that are made within, while they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: torch need not import its compiler, which costs a second, to keep it off this class."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs: Any = (args, kwargs)
        given = {_identity(leaf) for leaf in optree.tree_leaves(inputs) if isinstance(leaf, Tensor)}
        for leaf in optree.tree_leaves(out):
            if (
                not isinstance(leaf, Tensor)
                or (identity := _identity(leaf)) in given
                or identity in self.known
            ):
                continue  # a view of something, or something that was written in place
            storage = leaf.untyped_storage()
            self.known.add(identity)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._freed, identity, storage.nbytes())
        return out

    def _freed(self, identity: int, size: int) -> None:
        self.known.discard(identity)
        self.now -= size


def _identity(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _bytes(value: Any) -> int:
    return sum(leaf.nbytes for leaf in tree.leaves(value) if isinstance(leaf, Tensor))
