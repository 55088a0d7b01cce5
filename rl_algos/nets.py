"""Recurrences for policies that remember: one step at a time at play, a whole trial at once in training.

Each core has ``start(B)``, ``step(x, state)`` and ``unroll(x, state)``; a state is one tensor ``[B, S]``, so that it
can be a leaf of a memory. ``unroll`` equals repeated ``step`` (tested for every core).

Shape letters: T steps, B trials, D input features, H hidden units, S state size.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Core(Protocol):
    """A recurrence."""

    state_size: int
    output_size: int

    def step(self, x: Float[Tensor, "B D"], state: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        """The state after one more input; its first ``output_size`` columns are the output."""
        ...

    def unroll(self, x: Float[Tensor, "T B D"], state: Float[Tensor, "B S"]) -> Float[Tensor, "T B H"]:
        """The outputs of a whole sequence."""
        ...


class Gru(nn.Module):
    """Gated recurrent unit (Cho et al. 2014, as in ``torch.nn.GRU``), unrolled by a hand-written backward pass.

    ``nn.GRU`` on a CPU spends its backward pass in small products, one for each step and parameter. Here the input
    products and all parameter gradients are one large product each, and only the recurrence itself loops over time.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.state_size = self.output_size = hidden
        self.cell = nn.GRUCell(inputs, hidden)

    def step(self, x: Float[Tensor, "B D"], state: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        return self.cell(x, state)

    def unroll(self, x: Float[Tensor, "T B D"], state: Float[Tensor, "B S"]) -> Float[Tensor, "T B H"]:
        gates = nn.functional.linear(x, self.cell.weight_ih, self.cell.bias_ih)
        return _GruUnroll.apply(gates, state, self.cell.weight_hh, self.cell.bias_hh)


class _GruUnroll(torch.autograd.Function):
    """h_t = n + z (h_{t-1} - n) with r, z = sigmoid(gates + W h + b), n = tanh(gates + r (W h + b))."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, state: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        steps, rows, hidden = *gates.shape[:2], state.shape[1]
        h = gates.new_empty(steps + 1, rows, hidden)
        rz, n, q = (gates.new_empty(steps, rows, width) for width in (2 * hidden, hidden, hidden))
        h[0] = state
        recurrent = weight.t().contiguous()
        for t in range(steps):
            product = torch.addmm(bias, h[t], recurrent)
            torch.add(gates[t, :, : 2 * hidden], product[:, : 2 * hidden], out=rz[t]).sigmoid_()
            q[t] = product[:, 2 * hidden :]
            torch.addcmul(gates[t, :, 2 * hidden :], rz[t, :, :hidden], q[t], out=n[t]).tanh_()
            torch.lerp(n[t], h[t], rz[t, :, hidden:], out=h[t + 1])
        ctx.save_for_backward(h, rz, n, q, weight)
        return h[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (grad,) = grads
        h, rz, n, q, weight = ctx.saved_tensors
        steps, rows, hidden = n.shape
        r, z = rz[..., :hidden], rz[..., hidden:]
        to_n = (1 - z) * (1 - n * n)  # what a change of h_t does to the pre-activation of n, z and (through n) r
        to_z = (h[:-1] - n) * z * (1 - z)
        n_to_r = q * r * (1 - r)
        d_gates = torch.empty_like(torch.cat([rz, n], -1))
        d_product = torch.empty_like(d_gates)
        running = torch.zeros_like(n[0])
        for t in range(steps - 1, -1, -1):
            running = running + grad[t]
            d_n = torch.mul(running, to_n[t], out=d_gates[t, :, 2 * hidden :])
            torch.mul(running, to_z[t], out=d_gates[t, :, hidden : 2 * hidden])
            torch.mul(d_n, n_to_r[t], out=d_gates[t, :, :hidden])
            d_product[t, :, : 2 * hidden] = d_gates[t, :, : 2 * hidden]
            torch.mul(d_n, r[t], out=d_product[t, :, 2 * hidden :])
            running = torch.addmm(running * z[t], d_product[t], weight)
        flat = d_product.view(steps * rows, 3 * hidden)
        return d_gates, running, flat.t() @ h[:-1].reshape(steps * rows, hidden), flat.sum(0)


class Lstm(nn.Module):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, as in ``torch.nn.LSTM``); the state is [output, cell]."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.state_size, self.output_size = 2 * hidden, hidden
        self.rnn = nn.LSTM(inputs, hidden)

    def step(self, x: Float[Tensor, "B D"], state: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        h, c = (part[None].contiguous() for part in state.chunk(2, -1))
        _, (h, c) = self.rnn(x[None], (h, c))
        return torch.cat([h[0], c[0]], -1)

    def unroll(self, x: Float[Tensor, "T B D"], state: Float[Tensor, "B S"]) -> Float[Tensor, "T B H"]:
        h, c = (part[None].contiguous() for part in state.chunk(2, -1))
        return self.rnn(x, (h, c))[0]


class LinearRecurrence(nn.Module):
    """h_t = (1 - z_t) h_{t-1} + z_t c_t with z, c from the input alone (minGRU; Feng et al. 2024, section 3.1).

    Nothing of h_{t-1} enters the gates, so a whole trial is computed in log2(T) batched passes instead of T steps.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.state_size = self.output_size = hidden
        self.gates = nn.Linear(inputs, 2 * hidden)

    def step(self, x: Float[Tensor, "B D"], state: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        z, c = self._gates(x)
        return (1 - z) * state + z * c

    def unroll(self, x: Float[Tensor, "T B D"], state: Float[Tensor, "B S"]) -> Float[Tensor, "T B H"]:
        z, c = self._gates(x)
        keep, add = 1 - z, z * c
        add = torch.cat([(add[0] + keep[0] * state)[None], add[1:]])
        reach = 1
        while reach < len(x):  # Hillis & Steele 1986: after each pass a step knows twice as many steps before it
            add = torch.cat([add[:reach], add[reach:] + keep[reach:] * add[:-reach]])
            keep = torch.cat([keep[:reach], keep[reach:] * keep[:-reach]])
            reach *= 2
        return add

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, c = self.gates(x).chunk(2, -1)
        return z.sigmoid(), c.tanh()


CORES: dict[str, type[Gru] | type[Lstm] | type[LinearRecurrence]] = {
    "gru": Gru,
    "lstm": Lstm,
    "linear": LinearRecurrence,
}
"""Recurrences by name."""
