"""Recurrences: one step at a time at play, a whole trial at once in training.

Each core has ``step``, which returns the state after one more input, and ``unroll``, which returns the outputs of a
whole sequence and equals repeated ``step``. A state is one tensor ``[B, state_size]``, so that it can be a leaf of a
memory; its first ``output_size`` columns are the output.

Weights start orthogonal (Saxe et al. 2014). Forget gates start with time constants from one step to ``span`` steps
(Tallec & Ollivier 2018, section 2), so that early observations of a trial are not lost before learning has found a use
for them.

Shape letters: T steps, B trials, D input features, H hidden units, S state size.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Gru(nn.Module):
    """Gated recurrent unit (Cho et al. 2014, as in ``torch.nn.GRU``) with a hand-written backward pass.

    On a CPU the backward pass of ``nn.GRU`` is many small products, one for each step and parameter. Here parameter
    gradients are a few large products, and only the recurrence itself loops over time, on tensors that stay in cache.
    """

    def __init__(self, inputs: int, hidden: int, span: int) -> None:
        super().__init__()
        self.state_size = self.output_size = hidden
        self.cell = nn.GRUCell(inputs, hidden)
        _orthogonal(self.cell, hidden)
        self.cell.bias_hh.data[hidden : 2 * hidden] = _log_spans(hidden, span)

    def step(self, x: Float[Tensor, "B D"], state: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        return self.cell(x, state)

    def unroll(
        self, x: Float[Tensor, "T B D"], state: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B H"]:
        cell = self.cell
        return _GruUnroll.apply(
            x, state, cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh
        )


class _GruUnroll(torch.autograd.Function):
    """h_t = n + z (h_{t-1} - n), where r, z = sigmoid(V x + W h_{t-1}) and n = tanh(V x + r q), q = W h_{t-1}.

    (without biases). The rows of the weights are those of r, z and n in this order; r and z stand side by side in one
    tensor. Sequences are unbound before the loops: an index costs as much as a product here.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        state: Tensor,
        weight_x: Tensor,
        weight_h: Tensor,
        bias_x: Tensor,
        bias_h: Tensor,
    ) -> Tensor:
        (steps, rows, _), hidden = x.shape, state.shape[1]
        gates = 2 * hidden
        rz = nn.functional.linear(x, weight_x[:gates], bias_x[:gates] + bias_h[:gates])
        n = nn.functional.linear(x, weight_x[gates:], bias_x[gates:])
        q, h = torch.empty_like(n), x.new_empty(steps + 1, rows, hidden)
        h[0] = state
        to_rz, to_q = weight_h[:gates].t(), weight_h[gates:].t()
        each = _by_time(h[:-1], h[1:], rz, *rz.chunk(2, -1), n, q)
        for before, after, rz_t, r, z, n_t, q_t in each:
            torch.addmm(rz_t, before, to_rz, out=rz_t).sigmoid_()
            torch.addmm(bias_h[gates:], before, to_q, out=q_t)
            # tanh(a) = 2 sigmoid(2 a) - 1, which is four times as fast
            n_t.addcmul_(r, q_t).mul_(2).sigmoid_().mul_(2).sub_(1)
            torch.lerp(n_t, before, z, out=after)
        ctx.save_for_backward(x, h, rz, n, q, weight_x, weight_h)
        return h[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, h, rz, n, q, weight_x, weight_h = ctx.saved_tensors
        gates = 2 * n.shape[-1]
        # gradients of the arguments of the sigmoids and of tanh, and of q
        d_rz, d_n, d_q = torch.empty_like(rz), torch.empty_like(n), torch.empty_like(n)
        each = _by_time(
            grad, h[:-1], rz, *rz.chunk(2, -1), n, q, d_rz, *d_rz.chunk(2, -1), d_n, d_q
        )
        d_h = torch.zeros_like(n[0])
        for grad_t, before, rz_t, r, z, n_t, q_t, d_rz_t, d_r_t, d_z_t, d_n_t, d_q_t in reversed(
            each
        ):
            d_h = d_h + grad_t
            kept = d_h * z
            torch.ops.aten.tanh_backward.grad_input(d_h - kept, n_t, grad_input=d_n_t)
            torch.mul(d_n_t, q_t, out=d_r_t)
            torch.sub(before, n_t, out=d_z_t).mul_(d_h)
            torch.ops.aten.sigmoid_backward.grad_input(d_rz_t, rz_t, grad_input=d_rz_t)
            torch.mul(d_n_t, r, out=d_q_t)
            torch.addmm(kept, d_rz_t, weight_h[:gates], out=kept)
            d_h = torch.addmm(kept, d_q_t, weight_h[gates:], out=kept)
        x_flat, h_flat, d_rz, d_n, d_q = (
            part.flatten(0, 1) for part in (x, h[:-1], d_rz, d_n, d_q)
        )
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = (d_rz @ weight_x[:gates] + d_n @ weight_x[gates:]).view_as(x)
        # this transposed product takes a fifth of the time of the direct one
        d_weight_x = torch.cat([x_flat.t() @ d_rz, x_flat.t() @ d_n], 1).t()
        return (
            d_x,
            d_h,
            d_weight_x,
            torch.cat([d_rz.t() @ h_flat, d_q.t() @ h_flat]),
            torch.cat([d_rz.sum(0), d_n.sum(0)]),
            torch.cat([d_rz.sum(0), d_q.sum(0)]),
        )


def _by_time(*sequences: Tensor) -> list[tuple[Tensor, ...]]:
    """Views of every step, of all sequences side by side."""
    return list(zip(*(sequence.unbind() for sequence in sequences), strict=True))


class Lstm(nn.Module):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, as ``torch.nn.LSTMCell``); the state is [output, cell]."""

    def __init__(self, inputs: int, hidden: int, span: int) -> None:
        super().__init__()
        self.state_size, self.output_size = 2 * hidden, hidden
        self.cell = nn.LSTMCell(inputs, hidden)
        _orthogonal(self.cell, hidden)
        self.cell.bias_hh.data[hidden : 2 * hidden] = _log_spans(hidden, span)

    def step(self, x: Float[Tensor, "B D"], state: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        h, c = state.chunk(2, -1)
        return torch.cat(self.cell(x, (h, c)), -1)

    def unroll(
        self, x: Float[Tensor, "T B D"], state: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B H"]:
        h, c = state.chunk(2, -1)
        out = []
        for x_t in x.unbind():
            h, c = self.cell(x_t, (h, c))
            out.append(h)
        return torch.stack(out)


class LinearRecurrence(nn.Module):
    """h_t = (1 - z_t) h_{t-1} + z_t c_t with z, c from the input alone (minGRU; Feng et al. 2024, section 3.1).

    The gates do not depend on h_{t-1}, so a whole trial is computed in log2(T) batched passes instead of T steps.
    """

    def __init__(self, inputs: int, hidden: int, span: int) -> None:
        super().__init__()
        self.state_size = self.output_size = hidden
        self.gates = nn.Linear(inputs, 2 * hidden)
        _orthogonal(self.gates, hidden)
        self.gates.bias.data[:hidden] = -_log_spans(hidden, span)

    def step(self, x: Float[Tensor, "B D"], state: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
        z, c = self._gates(x)
        return (1 - z) * state + z * c

    def unroll(
        self, x: Float[Tensor, "T B D"], state: Float[Tensor, "B S"]
    ) -> Float[Tensor, "T B H"]:
        z, c = self._gates(x)
        keep, add = 1 - z, z * c
        add = torch.cat([(add[0] + keep[0] * state)[None], add[1:]])
        reach = 1
        # Hillis & Steele 1986: each pass doubles the number of earlier steps that a step includes
        while reach < len(x):
            add = torch.cat([add[:reach], add[reach:] + keep[reach:] * add[:-reach]])
            keep = torch.cat([keep[:reach], keep[reach:] * keep[:-reach]])
            reach *= 2
        return add

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, c = self.gates(x).chunk(2, -1)
        return z.sigmoid(), c.tanh()


def _orthogonal(layer: nn.Module, hidden: int) -> None:
    """Make every gate's weights orthogonal and every bias zero."""
    for weight in layer.parameters():
        if weight.ndim == 1:
            nn.init.zeros_(weight)
        else:
            for gate in weight.data.split(hidden):
                nn.init.orthogonal_(gate)


def _log_spans(hidden: int, span: int) -> Float[Tensor, " H"]:
    """Biases with which gates keep their content for 1 to ``span`` steps."""
    return torch.log(torch.empty(hidden).uniform_(1, max(2, span)))


CORES: dict[str, type[Gru] | type[Lstm] | type[LinearRecurrence]] = {
    "gru": Gru,
    "lstm": Lstm,
    "linear": LinearRecurrence,
}
"""Recurrences by name."""
