"""The number of trials that fit into memory, so that large evaluations are played in chunks.

A trial needs more bytes than the agent's memory of it: a step makes copies, gradient steps need activations and an
optimiser's state for every row. So the peak of live tensors is measured while one row, and then three, play a step of a
trial; half of the difference is the need of a row. The need of ``adapt`` may depend on a whole trial, which this does
not measure: such an agent has ``adapt_bytes(trial)``, and the rows of a chunk then adapt a few at a time.

The size of chunks changes no number: row b alone equals row b in any batch (``docs/architecture.md``).
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import optree
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bridge import memory as tree
from bridge.errors import ContractError, DivergenceError, UserError
from bridge.evaluation.policies import Doubts
from bridge.noise import TrialNoise
from bridge.play import clues, play_episode, record_context, show
from bridge.protocol import Agent, Clues, Trial
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily

MEMORY = 10**9
"""Default limit in bytes, on top of the process's other needs."""
_LEAST = 64 * 10**6
"""Smallest limit in bytes: a process's memory varies by as much anyway."""
_MOST_ROWS = 1 << 15
_MEASURED = 3
"""Most rows of a measurement. So few trials are played without one."""
_SLACK = 2.0
"""Most resident bytes per byte of live tensors (measured: 0.8 to 1.7): allocators keep pages that they cannot use, and
later steps of a trial read a longer past than the first."""
_BOOKKEEPING = 1 << 10
"""Bytes of a row's own sums, keys and metrics in the evaluator."""
_UNITS = {"mb": 1e6, "gb": 1e9, "tb": 1e12, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40}


class Fit(NamedTuple):
    """Number of trials that are played at a time, and number of these that adapt at a time."""

    rows: int
    adapting: int


@runtime_checkable
class Heavy(Protocol):
    """An agent that needs more memory in ``adapt`` than it holds."""

    def adapt_bytes(self, trial: Trial) -> int:
        """Most bytes that one row needs in ``adapt``, beyond its memory."""
        ...


def parse_memory(text: str) -> int:
    """An amount of memory such as ``2GB``, ``500MB`` or ``1.5GiB``, in bytes.

    Raises:
        UserError: anything else, less than 64 MB, or more than this machine has.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([mgt]i?b)\s*", text.lower())
    amount = float(match[1]) * _UNITS[match[2]] if match else 0.0
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
    forks: int = 0,
    shown_by: Agent | None = None,
    device: str | torch.device = "cpu",
) -> Fit:
    """The number of trials that fit into ``limit`` bytes, at least one.

    Args:
        agent: the agent that plays.
        family: the simulator.
        split: the split of the tasks.
        trial: the trial that the agent starts with.
        trials: number of trials of the evaluation.
        limit: bytes.
        forks: number of forks of each memory that are played beside it.
        shown_by: the agent that makes the context, which is kept for the whole trial; None if there is no context.
        device: device of the tasks.
    """
    if trials <= _MEASURED:
        return Fit(trials, trials)
    held: list[int] = []

    def step(rows: int) -> Callable[[], object]:
        def play() -> None:
            ids = torch.arange(rows, device=device)
            noise, tasks = TrialNoise.of("footprint", ids), family.sample(split, ids)
            memory = agent.start(clues(agent, family, split, tasks), trial, noise.agent.at("start"))
            kept, first = 0, int(shown_by is not None)
            if shown_by is not None:
                (steps,) = record_context(
                    shown_by, family, split, tasks, noise.at("context"), Trial(1, trial.horizon)
                )
                kept = (trial.episodes - 1) * _bytes(steps)
                memory = show(agent, memory, steps, noise.agent.at("shown"), episode=0)
            beside = [tree.fork(memory) for _ in range(forks)]
            player = beside[-1] if beside else memory
            play_episode(agent, family, tasks, player, noise, episode=first, horizon=1)
            if isinstance(agent, Heavy):  # its rows adapt a few at a time and are then joined
                kept += _bytes(memory)
            held.append(kept // rows)

        return play

    try:
        row = row_bytes(step) + held[-1] + _BOOKKEEPING + family.bytes_a_row
    except (ContractError, DivergenceError):  # the evaluation fails alike, and names its own row
        return Fit(min(trials, _MOST_ROWS), trials)
    adapting = agent.adapt_bytes(trial) if isinstance(agent, Heavy) else 0
    return _divided(int(limit / _SLACK), trials, row, adapting)


def _divided(room: int, trials: int, row: int, adapting: int) -> Fit:
    """All trials at once if they fit; else half of ``room`` for the rows, and the rest for rows that adapt."""
    most = min(trials, _MOST_ROWS)
    if most * (row + adapting) <= room:
        return Fit(most, most)
    rows = max(1, min(most, (room // 2 if adapting else room) // row))
    return Fit(rows, max(1, min(rows, (room - rows * row) // adapting)) if adapting else rows)


def adapted(agent: Agent, memory: Any, rng: Rows, at_once: int, *, episode: int, last: bool) -> Any:
    """The memory after ``agent.adapt`` of all rows, ``at_once`` at a time."""
    if len(rng) <= at_once:
        return agent.adapt(memory, rng, episode=episode, last=last)
    parts = [slice(first, first + at_once) for first in range(0, len(rng), at_once)]
    return tree.joined(
        [agent.adapt(tree.select(memory, p), rng[p], episode=episode, last=last) for p in parts]
    )


def misfits(agent: Doubts, memory: Any, at_once: int) -> Float[Tensor, " B"]:
    """``agent.misfit`` of all rows, ``at_once`` at a time, as it may take gradient steps."""
    rows = len(tree.leaves(memory)[0])
    parts = [slice(first, first + at_once) for first in range(0, rows, at_once)]
    return torch.cat([agent.misfit(tree.select(memory, part)) for part in parts])


def gradient_step_bytes(agent: Agent, trial: Trial, device: torch.device) -> int:
    """Bytes that each row needs in ``agent.adapt`` with a full buffer.

    Args:
        agent: an agent that takes one gradient step in ``adapt``, on the steps in ``buffer`` of its memory.
        trial: the trial after which it adapts.
        device: device of the agent's weights.
    """

    def full(rows: int) -> Callable[[], object]:
        rng = Rows.of("footprint", torch.arange(rows, device=device))
        memory: Any = agent.start(Clues(), trial, rng)
        memory.buffer.live.fill_(True)
        return lambda: agent.adapt(memory, rng, episode=trial.episodes - 1, last=True)

    return row_bytes(full)


@torch.no_grad()
def row_bytes(prepare: Callable[[int], Callable[[], object]]) -> int:
    """Bytes of tensors that each row adds to the peak of a run.

    Tensors that are made once for all rows, such as a cached table, do not count.

    Args:
        prepare: returns the run for so many rows.
    """
    prepare(1)()
    few, many = (_peak(prepare(rows)) for rows in (1, _MEASURED))
    return max(0, many - few) // (_MEASURED - 1)


def _peak(run: Callable[[], object]) -> int:
    with _Live() as live:
        run()
    return live.most


class _Live(TorchDispatchMode):
    """Counts the bytes of storages that are made in this context, while they are alive.

    Attributes:
        most: bytes at the peak.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False, so that torch does not import its compiler for this class, which takes a second."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs: Any = (args, kwargs)
        old = {_identity(leaf) for leaf in _tensors(inputs)}
        for leaf in _tensors(out):
            if _identity(leaf) not in old and _identity(leaf) not in self.known:
                self._made(leaf.untyped_storage())
        return out

    def _made(self, storage: torch.UntypedStorage) -> None:
        self.known.add(storage._cdata)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())

    def _freed(self, identity: int, size: int) -> None:
        self.known.discard(identity)
        self.now -= size


def _identity(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in optree.tree_leaves(value) if isinstance(leaf, Tensor)]


def _bytes(value: Any) -> int:
    return sum(leaf.nbytes for leaf in _tensors(value))
