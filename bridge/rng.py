"""Counter-based, named noise: a draw is a function of (seed, row id, names), never of call order, batch or device.

Every row of a batch owns a 64-bit key. ``rows.at("episode", 3, "reward")`` names a stream; a draw from it hashes key
and name with the finaliser of SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators",
section 3). Two methods that draw under the same name on the same row get the same noise, which is what pairs them.
Row b drawn alone equals row b drawn among 10^5 others, bit for bit.

Uniform draws lie strictly inside (0, 1), so that every other law can go through its inverse CDF.

Shape letters: B rows, * the shape of one draw.
"""

from __future__ import annotations

import hashlib
import math
import operator
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge import memory as tree
from bridge.errors import ContractError, DivergenceError, UserError

_MASK = (1 << 64) - 1
_CELLS = 1 << 23  # distinct values of a float32 uniform
_MAX_TRIES = 64  # rejection sampling accepts above 95% a try: 64 misses in a row do not happen

Draws = Float[Tensor, "B *shape"]
"""A draw of some shape for each row, or parameters of it."""

Numbers = Float[Tensor, "*any"]
"""Numbers, elementwise."""

Words = Int[Tensor, "*any"]
"""64 bits each, as int64."""


def _signed(x: int) -> int:
    """The int64 that has the bits of the unsigned 64-bit ``x`` (torch has no arithmetic on uint64)."""
    return x - (1 << 64) if x >> 63 else x


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MUL_1, _MUL_2 = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _mix(x: int) -> int:
    """SplitMix64's finaliser on one python integer, modulo 2^64; the result is unsigned."""
    x = (x + _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * _MUL_1) & _MASK
    x = ((x ^ (x >> 27)) * _MUL_2) & _MASK
    return x ^ (x >> 31)


def _mix_tensor(x: Words) -> Words:
    """The same finaliser, elementwise; shifts are made logical by masks because int64 shifts copy the sign."""
    x = x + _GOLDEN
    x ^= (x >> 30).bitwise_and_((1 << 34) - 1)
    x *= _MUL_1
    x ^= (x >> 27).bitwise_and_((1 << 37) - 1)
    x *= _MUL_2
    x ^= (x >> 31).bitwise_and_((1 << 33) - 1)
    return x


@lru_cache(maxsize=4096)
def _name_bits(name: str | int) -> int:
    """64 bits for one name: integers by value, strings by BLAKE2."""
    if isinstance(name, str):
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    return _mix(name & _MASK)


@lru_cache(maxsize=4096)
def _role_bits(role: str, seed: int | str) -> int:
    """64 bits for a seed in one role, by BLAKE2 personalised with the role (at most 16 bytes)."""
    digest = hashlib.blake2b(repr(seed).encode(), digest_size=8, person=role.encode()).digest()
    return int.from_bytes(digest, "little")


def _combined(salt: int | Tensor, bits: int | Tensor) -> int | Tensor:
    """The finaliser of ``salt ^ bits``: one python integer, or an int64 a row if either is a tensor."""
    if isinstance(salt, int) and isinstance(bits, int):
        return _mix(salt ^ bits)
    words = (x if isinstance(x, Tensor) else torch.tensor(_signed(x)) for x in (salt, bits))
    return _mix_tensor(operator.xor(*words))


@dataclass(frozen=True, eq=False)
class Rows:
    """Named noise for a batch of rows.

    Attributes:
        key: one 64-bit key a row, ``[B]``.
        salt: the hash of the names so far: one python integer for all rows, or ``[B]`` after naming with a tensor.
    """

    key: Int[Tensor, " B"]
    salt: int | Int[Tensor, " B"] = 0

    @classmethod
    def of(cls, seed: int | str, ids: Int[Tensor, " B"], role: str = "") -> Rows:
        """The noise of rows ``ids`` (non-negative integers, such as trial numbers) in the stream ``seed``.

        Each ``role`` has its own root, a BLAKE2 hash of role and seed, from which no other stream of the seed can be
        computed.

        Raises:
            ContractError: if an id is not an integer of 0 or more, or the seed is neither a string nor an integer in
                0..2^64-1 (others would share its stream).
        """
        if not isinstance(seed, str):
            seed = operator.index(seed)
            if not 0 <= seed <= _MASK:
                raise ContractError(
                    f"A seed is a string or an integer from 0 to 2^64 - 1, found {seed}. Choose another."
                )
        if ids.is_floating_point():
            raise ContractError(f"Row ids must be integers, found {ids.dtype}. Count rows from 0.")
        if len(ids) and int(ids.min()) < 0:
            raise ContractError(
                f"Row ids must be 0 or more, found {int(ids.min())}. Count rows from 0."
            )
        bits = _role_bits(role, seed) if role else _name_bits(seed)
        return cls(_mix_tensor(_mix_tensor(ids.to(torch.int64)) ^ _signed(_mix(bits ^ _GOLDEN))))

    @classmethod
    def without_draws(cls, like: Tensor) -> Rows:
        """As many rows as ``like`` has, on its device, for calls that draw nothing."""
        return cls(torch.zeros(len(like), dtype=torch.int64, device=like.device))

    def __len__(self) -> int:
        return len(self.key)

    @property
    def device(self) -> torch.device:
        """Device of the keys and of all draws."""
        return self.key.device

    def __getitem__(self, index: slice | Tensor) -> Rows:
        """The noise of the selected rows."""
        return Rows(self.key[index], self.salt if isinstance(self.salt, int) else self.salt[index])

    def at(self, *names: str | int | Int[Tensor, " B"]) -> Rows:
        """The stream called ``names``: strings, integers, or an integer a row. ``at(a, b) == at(a).at(b)``."""
        salt = self.salt
        for name in names:
            if isinstance(name, Tensor):
                salt = _combined(salt, _mix_tensor(name.to(self.device, torch.int64)))
            else:
                salt = _combined(salt, _name_bits(name))
        return Rows(self.key, salt)

    def fork(self, copies: int) -> Rows:
        """Each row repeated ``copies`` times in a row, each copy with its own noise: ``[B*copies]``."""
        copy = torch.arange(copies, device=self.device).repeat(len(self))
        salt = self.salt if isinstance(self.salt, int) else self.salt.repeat_interleave(copies)
        return Rows(self.key.repeat_interleave(copies), salt).at("fork", copy)

    def bits(self, *shape: int) -> Int[Tensor, "B *shape"]:
        """64 random bits a draw, as int64."""
        base = self.key + (self.salt if isinstance(self.salt, Tensor) else _signed(self.salt))
        if shape:
            lanes = torch.arange(1, 1 + math.prod(shape), device=self.device).mul_(_GOLDEN)
            base = (base[:, None] + lanes).view(len(self), *shape)
        return _mix_tensor(base)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Draws:
        """Uniform on the open interval (0, 1): the midpoints of 2^23 cells (float32) or 2^52 (float64)."""
        return _unit(self.bits(*shape), dtype)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Draws:
        """Standard normal through the inverse CDF (float32 reaches 5.3 standard deviations)."""
        return torch.special.ndtri(self.uniform(*shape, dtype=dtype))

    def exponential(self, *shape: int, dtype: torch.dtype = torch.float32) -> Draws:
        """Exponential with mean 1 through the inverse CDF."""
        return -torch.log(self.uniform(*shape, dtype=dtype))

    def integers(self, n: int, *shape: int) -> Int[Tensor, "B *shape"]:
        """Integers 0..n-1, equally likely up to ``n / 2^23``.

        Raises:
            ContractError: if ``n`` is below 1, or above the 2^23 values that a float32 uniform takes.
        """
        if not 1 <= n <= _CELLS:
            raise ContractError(
                f"Rows.integers draws below n, from 1 to 2^23 = {_CELLS:,}; found n={n}. For more, scale a uniform of "
                "dtype float64."
            )
        return (self.uniform(*shape) * n).to(torch.int64)

    def categorical(self, weights: Float[Tensor, "B n"]) -> Int[Tensor, " B"]:
        """One index a row with probability proportional to ``weights >= 0``, through the inverse CDF of one uniform.

        Raises:
            ContractError: if a row has a negative or infinite weight, or none above 0.
            DivergenceError: if a weight is NaN.
        """
        if not weights.shape[-1]:
            raise ContractError(
                "Rows.categorical draws one of n weights a row; found n = 0. Give it one or more."
            )
        below = weights.cumsum(-1)
        total = below[:, -1:]
        target = self.uniform(dtype=weights.dtype)[:, None] * total
        if len(self):
            least, most = total.aminmax()
            if not (weights.amin().item() >= 0 and least.item() > 0 and most.item() < math.inf):
                raise _refusal(
                    weights,
                    (weights >= 0) & (total > 0) & (total < math.inf),
                    "Rows.categorical needs weights that are finite, 0 or more and not all 0",
                    "Give it probabilities: logits.softmax(-1).",
                )
        return (below <= target).sum(-1).clamp_(max=weights.shape[-1] - 1)

    def gamma(self, shape: Draws) -> Draws:
        """Gamma(shape, 1) for ``shape > 0`` (Marsaglia & Tsang 2000); each rejection is retried under its own name.

        Below 1 the draw is ``Gamma(shape + 1) * u^(1/shape)`` (their section 6).

        Raises:
            ContractError: if a shape is 0, negative or infinite.
            DivergenceError: if a shape is NaN.
        """
        least, most = (bound.item() for bound in shape.aminmax()) if shape.numel() else (1, 1)
        if not 0 < least <= most < math.inf:
            raise _refusal(
                shape,
                (shape > 0) & (shape < math.inf),
                "Gamma, Beta and Dirichlet draws need finite parameters above 0",
                "Look at what it is computed from.",
            )
        element = self.bits(*shape.shape[1:])
        if least >= 1:
            return _marsaglia_tsang(element, shape)
        small = shape < 1
        draw = _marsaglia_tsang(element, torch.where(small, shape + 1, shape))
        # exp(log u / shape), not u ** (1 / shape): torch's pow rounds differently at a vector's tail
        uniform = _unit(_mix_tensor(element ^ _GOLDEN), shape.dtype)
        return torch.where(small, draw * torch.exp(torch.log(uniform) / shape), draw)

    def beta(self, a: Draws, b: Draws) -> Draws:
        """Beta(a, b) as the ratio of two gammas."""
        x = self.at("beta/a").gamma(a)
        return x / (x + self.at("beta/b").gamma(b))

    def dirichlet(self, concentration: Draws) -> Draws:
        """Dirichlet over the last dimension. Rows of ones go through the inverse CDF, one uniform a value."""
        # decided row by row, so that a row's draw does not depend on the other rows
        flat = (concentration == 1).flatten(1).all(1)
        draw = self.exponential(*concentration.shape[1:], dtype=concentration.dtype)
        if not bool(flat.all()):
            tiny = torch.finfo(concentration.dtype).tiny
            draw = tree.where(flat, draw, self.gamma(concentration).clamp_(min=tiny))
        return draw / draw.sum(-1, keepdim=True)


def _refusal(
    values: Float[Tensor, "B *any"], good: Bool[Tensor, "B *any"], needs: str, remedy: str
) -> UserError:
    """The error for the first row with a value that is not ``good``.

    NaN comes of a network that has diverged: a ``DivergenceError``, so that training keeps its last checkpoint.
    """
    row = int((~good).nonzero()[0, 0])
    kind = DivergenceError if bool(values[row].isnan().any()) else ContractError
    return kind(f"{needs}; row {row} has {values[row].tolist()}. {remedy}")


def _unit(bits: Words, dtype: torch.dtype) -> Numbers:
    """The high bits of a word as a number in (0, 1); ``(n + 1/2) / 2^k`` is exact in the dtype, so never 0 nor 1."""
    k = 52 if dtype == torch.float64 else 23
    return (bits >> (64 - k)).bitwise_and_((1 << k) - 1).to(dtype).add_(0.5).mul_(2.0**-k)


def _marsaglia_tsang(element: Words, shape: Numbers) -> Numbers:
    """Gamma draws for ``shape >= 1`` from 64 random bits each; only rejected elements are tried again."""
    element, d = element.flatten(), (shape - 1 / 3).flatten()
    out = torch.empty(0)
    pending: Tensor | None = None  # all elements at first
    for attempt in range(_MAX_TRIES):
        x, u = (
            _unit(_mix_tensor(element + _signed(_mix(2 * attempt + i))), shape.dtype)
            for i in (0, 1)
        )
        x = torch.special.ndtri(x)
        v = x.div(3 * d.sqrt()).add_(1)
        v = v * v * v
        bound = 0.5 * x * x + d - d * v + d * torch.log(v.clamp(min=1e-30))
        accept = (v > 0) & (torch.log(u) < bound)
        rejected = (~accept).nonzero().squeeze(-1)
        if pending is None:
            out, pending = d * v, rejected
        else:
            out[pending] = d * v  # rejected draws are overwritten by later ones
            pending = pending[rejected]
        if not len(pending):
            return out.view(shape.shape)
        element, d = element[rejected], d[rejected]
    raise AssertionError(f"a gamma draw was rejected {_MAX_TRIES} times in a row")
