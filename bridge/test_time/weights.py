"""Weights of each trial's own, in a network that all trials share.

A *tuner* says what of a network is a trial's own. ``PerTrialWeights`` gives every trial all weights of some modules:
while they are ``on``, each of these modules multiplies every trial's rows by that trial's weights, and everything in
between (attention, caches, recurrences, distributions) runs as it is, on all rows at once. Low-rank adapters are
another tuner (``llm_adapt/low_rank.py``).

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
class TrialWeights(Protocol):
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
class PerTrialWeights:
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
                raise UserError(
                    f"There is no module {start!r} to tune in this network. There are: {', '.join(tops)}."
                )
        return {
            name: module
            for name, module in found.items()
            if any(_under(name, start) for start in self.named)
        }

    def new(self, network: nn.Module, rng: Rows) -> dict[str, Tensor]:
        """A copy of the weights for each row."""
        return {
            f"{name}.{part}".lstrip("."): weights.detach().expand(len(rng), *weights.shape)
            for name, module in self.modules(network).items()
            for part, weights in _held(module).items()
        }

    @contextmanager
    def on(self, network: nn.Module, own: dict[str, Tensor]) -> Generator[nn.Module]:
        """Each module's rows by their own weights."""
        forwards = []
        for name, module in self.modules(network).items():
            weights = {part: own[f"{name}.{part}".lstrip(".")] for part in _held(module)}
            forwards.append((module, partial(_each_by_its_own, copy.copy(module), weights)))
        for module, forward in forwards:
            module.forward = forward
        try:
            yield network
        finally:
            for module, _ in forwards:
                del module.forward


@dataclass(frozen=True)
class Combined:
    """Several tuners of different modules at once."""

    tuners: tuple[TrialWeights, ...]

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
    """Modules that compute with weights that they hold themselves, lists of them included."""
    for name, module in network.named_modules():
        if _held(module) and not isinstance(module, _LISTS):
            yield name, module


def _held(module: nn.Module) -> dict[str, nn.Parameter]:
    """A module's own weights, by name within it."""
    held = dict(module.named_parameters(recurse=False))
    for name, child in module.named_children():
        if isinstance(child, _LISTS):
            held |= {f"{name}.{part}": weights for part, weights in child.named_parameters()}
    return held


_LISTS = (nn.ParameterList, nn.ParameterDict)


def _under(name: str, start: str) -> bool:
    return not start or name == start or name.startswith(f"{start}.")


def _each_by_its_own(bare: nn.Module, weights: dict[str, Tensor], *inputs: Any) -> Any:
    """What the module says to each trial's rows by that trial's weights.

    A module whose output has its rows elsewhere than first says where (``rows_at``).
    """
    trials, at = len(next(iter(weights.values()))), getattr(bare, "rows_at", 0)
    tensors: Any = inputs
    apart = optree.tree_map(lambda x: x.unflatten(0, (trials, -1)), tensors)
    run = _CELLS.get(type(bare)) or (lambda own, *mine: functional_call(bare, own, mine))
    said: Any = vmap(run, out_dims=at)(weights, *apart)
    return optree.tree_map(lambda x: x.flatten(at, at + 1), said)


def _gru(own: dict[str, Tensor], x: Tensor, h: Tensor) -> Tensor:
    """``torch.nn.GRUCell``, of which there is no batched form."""
    r_x, z_x, n_x = linear(x, own["weight_ih"], own["bias_ih"]).chunk(3, -1)
    r_h, z_h, n_h = linear(h, own["weight_hh"], own["bias_hh"]).chunk(3, -1)
    n = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
    return torch.lerp(n, h, (z_x + z_h).sigmoid())


def _lstm(own: dict[str, Tensor], x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """``torch.nn.LSTMCell``, likewise."""
    h, c = state
    gates = linear(x, own["weight_ih"], own["bias_ih"]) + linear(
        h, own["weight_hh"], own["bias_hh"]
    )
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


_CELLS: dict[type[nn.Module], Callable[..., Any]] = {nn.GRUCell: _gru, nn.LSTMCell: _lstm}
