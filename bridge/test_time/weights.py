"""Weights that each trial has of its own, in a network that all trials share.

``TrialWeights`` decide which weights these are. ``PerTrialWeights`` are all weights of some modules: while they are
``on``, each of these modules multiplies every trial's rows by that trial's weights, and everything in between
(attention, caches, recurrences, distributions) runs on all rows at once as it is. Low-rank adapters are another kind
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
"""The weights of N trials: a tree of tensors that lead with N, as those of a memory do."""


@runtime_checkable
class TrialWeights(Protocol):
    """The weights of a network that each trial has of its own."""

    def new(self, network: Any, rng: Rows, /) -> Own:
        """The initial weights of each row of ``rng``, with which the network is unchanged."""
        ...

    def on(self, network: Any, own: Own, /) -> AbstractContextManager[Any]:
        """A context in which the network has each trial's own weights.

        A call is on N k rows, of which the first k are the first trial's. Gradients flow to ``own``.
        """
        ...


@dataclass(frozen=True)
class PerTrialWeights:
    """All weights of some modules."""

    prefixes: tuple[str, ...] = ("",)
    """Prefixes of the modules' names; the empty one stands for the whole network."""

    def modules(self, network: nn.Module) -> dict[str, nn.Module]:
        """The modules that hold weights themselves, by name.

        Raises:
            UserError: no module has such a name.
        """
        holders, chosen = dict(_holders(network)), {}
        for prefix in self.prefixes:
            under = {name: module for name, module in holders.items() if _under(name, prefix)}
            if not under:
                names = sorted({name.split(".")[0] for name in holders})
                raise UserError(
                    f"There is no module {prefix!r} to tune in this network. There are: {', '.join(names)}."
                )
            chosen |= under
        return chosen

    def new(self, network: nn.Module, rng: Rows) -> dict[str, Tensor]:
        """A copy of the weights for each row."""
        return {
            f"{name}.{part}".lstrip("."): weights.detach().expand(len(rng), *weights.shape)
            for name, module in self.modules(network).items()
            for part, weights in _held(module).items()
        }

    @contextmanager
    def on(self, network: nn.Module, own: dict[str, Tensor]) -> Generator[nn.Module]:
        """A context in which each module multiplies every trial's rows by that trial's weights."""
        forwards = []
        for name, module in self.modules(network).items():
            weights = {part: own[f"{name}.{part}".lstrip(".")] for part in _held(module)}
            forwards.append((module, partial(_forward_by_trial, copy.copy(module), weights)))
        for module, forward in forwards:
            module.forward = forward
        try:
            yield network
        finally:
            for module, _ in forwards:
                del module.forward


@dataclass(frozen=True)
class Combined:
    """Several kinds of weights, of different modules, at once."""

    parts: tuple[TrialWeights, ...]

    def new(self, network: nn.Module, rng: Rows) -> tuple[Own, ...]:
        """One tree a part."""
        return tuple(part.new(network, rng) for part in self.parts)

    @contextmanager
    def on(self, network: nn.Module, own: tuple[Own, ...]) -> Generator[nn.Module]:
        """A context in which all parts are on."""
        with ExitStack() as stack:
            for part, weights in zip(self.parts, own, strict=True):
                stack.enter_context(part.on(network, weights))
            yield network


_LISTS = (nn.ParameterList, nn.ParameterDict)


def _holders(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules that compute with weights of their own, by name. Parameter lists are parts of the module around them."""
    for name, module in network.named_modules():
        if _held(module) and not isinstance(module, _LISTS):
            yield name, module


def _held(module: nn.Module) -> dict[str, nn.Parameter]:
    """A module's own weights and those of its parameter lists, by name within the module."""
    held = dict(module.named_parameters(recurse=False))
    for name, child in module.named_children():
        if isinstance(child, _LISTS):
            held |= {f"{name}.{part}": weights for part, weights in child.named_parameters()}
    return held


def _under(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(f"{prefix}.")


def _forward_by_trial(module: nn.Module, weights: dict[str, Tensor], *inputs: Any) -> Any:
    """The module's output, each trial's rows by that trial's weights.

    A module whose output does not lead with its rows has their axis as ``rows_at``.
    """
    trials, rows_at = len(next(iter(weights.values()))), getattr(module, "rows_at", 0)
    rows: Any = inputs
    by_trial = optree.tree_map(lambda x: x.unflatten(0, (trials, -1)), rows)
    run = _CELLS.get(type(module)) or (lambda own, *rows: functional_call(module, own, rows))
    outputs: Any = vmap(run, out_dims=rows_at)(weights, *by_trial)
    return optree.tree_map(lambda x: x.flatten(rows_at, rows_at + 1), outputs)


def _gru(own: dict[str, Tensor], x: Tensor, h: Tensor) -> Tensor:
    """``torch.nn.GRUCell``, which has no batching rule."""
    r_x, z_x, n_x = linear(x, own["weight_ih"], own["bias_ih"]).chunk(3, -1)
    r_h, z_h, n_h = linear(h, own["weight_hh"], own["bias_hh"]).chunk(3, -1)
    n = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
    return torch.lerp(n, h, (z_x + z_h).sigmoid())


def _lstm(own: dict[str, Tensor], x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """``torch.nn.LSTMCell``, which has no batching rule."""
    h, c = state
    from_x = linear(x, own["weight_ih"], own["bias_ih"])
    from_h = linear(h, own["weight_hh"], own["bias_hh"])
    i, f, g, o = (from_x + from_h).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


_CELLS: dict[type[nn.Module], Callable[..., Any]] = {nn.GRUCell: _gru, nn.LSTMCell: _lstm}
