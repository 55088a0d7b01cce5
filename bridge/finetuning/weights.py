"""Weights of each trial's own, in a network that all trials share.

A *tuner* says what of a network is a trial's own. ``Whole`` gives every trial all weights of some modules: while they
are ``on``, each of these modules multiplies every trial's rows by that trial's weights, and everything in between
(attention, caches, recurrences, distributions) runs as it is, on all rows at once. Low-rank adapters are another tuner
(``llm_adapt/low_rank.py``).

Shape letters: N trials.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import optree
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import linear

from bridge.errors import UserError
from bridge.rng import Rows

Own = Any
"""What trials own: a tree of tensors that lead with N, as a memory's do."""


@runtime_checkable
class Tuner(Protocol):
    """What of a network each trial has of its own."""

    def new(self, network: Any, rng: Rows, /) -> Own:
        """What each row of ``rng`` starts with: it changes nothing yet."""
        ...

    def on(self, network: Any, own: Own, /) -> AbstractContextManager[Any]:
        """For the time of a ``with``: the network as each trial has it.

        A call is on N k rows, the first k of them the first trial's. Gradients flow to ``own``.
        """
        ...


@dataclass(frozen=True)
class Whole:
    """All weights of some modules."""

    named: tuple[str, ...] = ("",)
    """How their names begin; the empty name is the network's own: every weight that it has."""

    def modules(self, network: nn.Module) -> dict[str, nn.Module]:
        """Those of them that hold weights themselves, by name.

        Raises:
            UserError: no module has such a name.
        """
        found = dict(_holders(network))
        for start in self.named:
            if not any(_under(name, start) for name in found):
                tops = sorted({name.split(".")[0] for name in found})
                raise UserError(f"There is no module {start!r} to tune in this network. There are: {', '.join(tops)}.")
        return {name: module for name, module in found.items() if any(_under(name, start) for start in self.named)}

    def new(self, network: nn.Module, rng: Rows) -> dict[str, Tensor]:
        """A copy of the weights for each row."""
        return {
            f"{name}.{part}".lstrip("."): weights.detach().expand(len(rng), *weights.shape)
            for name, module in self.modules(network).items()
            for part, weights in module.named_parameters(recurse=False)
        }

    @contextmanager
    def on(self, network: nn.Module, own: dict[str, Tensor]) -> Generator[nn.Module]:
        """Each module's rows by their own weights."""
        forwards = []
        for name, module in self.modules(network).items():
            parts = [part for part, _ in module.named_parameters(recurse=False)]
            weights = {part: own[f"{name}.{part}".lstrip(".")] for part in parts}
            forwards.append((module, partial(_each_by_its_own, copy.copy(module), weights)))
        for module, forward in forwards:
            module.forward = forward
        try:
            yield network
        finally:
            for module, _ in forwards:
                del module.forward


@dataclass(frozen=True)
class Together:
    """Several tuners of different modules at once."""

    tuners: tuple[Tuner, ...]

    def new(self, network: nn.Module, rng: Rows) -> tuple[Own, ...]:
        """One tree a tuner."""
        return tuple(tuner.new(network, rng) for tuner in self.tuners)

    @contextmanager
    def on(self, network: nn.Module, own: tuple[Own, ...]) -> Generator[nn.Module]:
        """All of them."""
        with ExitStack() as stack:
            for tuner, part in zip(self.tuners, own, strict=True):
                stack.enter_context(tuner.on(network, part))
            yield network


def _holders(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules that hold weights themselves."""
    for name, module in network.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            yield name, module


def _under(name: str, start: str) -> bool:
    return not start or name == start or name.startswith(f"{start}.")


def _each_by_its_own(bare: nn.Module, weights: dict[str, Tensor], *inputs: Any) -> Any:
    """What the module says to each trial's rows by that trial's weights.

    What all rows share (learned positions, ``[1, ...]``) is said to each trial once: k is 1 where there are such.
    """
    tensors: Any = inputs
    trials = len(next(iter(weights.values())))
    shared = trials > 1 and all(len(x) == 1 for x in optree.tree_leaves(tensors))

    def apart(x: Tensor) -> Tensor:
        return x.expand(trials, *x.shape).contiguous() if shared else x.unflatten(0, (trials, -1))

    run = _CELLS.get(type(bare)) or (lambda own, *mine: functional_call(bare, own, mine))
    said: Any = vmap(run)(weights, *optree.tree_map(apart, tensors))
    return optree.tree_map(lambda x: x.flatten(0, 1), said)


def _gru(own: dict[str, Tensor], x: Tensor, h: Tensor) -> Tensor:
    """``torch.nn.GRUCell``, of which there is no batched form."""
    r_x, z_x, n_x = linear(x, own["weight_ih"], own["bias_ih"]).chunk(3, -1)
    r_h, z_h, n_h = linear(h, own["weight_hh"], own["bias_hh"]).chunk(3, -1)
    n = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
    return torch.lerp(n, h, (z_x + z_h).sigmoid())


def _lstm(own: dict[str, Tensor], x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """``torch.nn.LSTMCell``, likewise."""
    h, c = state
    gates = linear(x, own["weight_ih"], own["bias_ih"]) + linear(h, own["weight_hh"], own["bias_hh"])
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


_CELLS: dict[type[nn.Module], Callable[..., Any]] = {nn.GRUCell: _gru, nn.LSTMCell: _lstm}
