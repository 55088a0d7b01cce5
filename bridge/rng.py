"""Counter-based, named noise: a draw is a function of (seed, row id, names), never of call order, batch or device.

Every row of a batch owns a 64-bit key. ``rows.at("episode", 3, "reward")`` names a place in the stream, and drawing
there hashes key and name with the finaliser of SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom
number generators", section 3). Two methods that ask for the same name on the same row see the same noise, which is what
pairs them; row b drawn alone equals row b drawn among 10^5 others, bit for bit.

Uniform draws lie strictly inside (0, 1), so that every other law may go through its inverse CDF.

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

from bridge.errors import ContractError, DivergenceError, UserError

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MUL_1, _MUL_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_CELLS = 1 << 23  # of a float32 uniform
_MAX_TRIES = 64  # rejection sampling accepts above 95% a try: 64 misses in a row do not happen


def _signed(x: int) -> int:
    """The int64 that has the bits of the unsigned 64-bit ``x`` (torch has no arithmetic on uint64)."""
    return x - (1 << 64) if x >> 63 else x


def _mix(x: int) -> int:
    """SplitMix64's finaliser on one python integer."""
    x = (x + _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * _MUL_1) & _MASK
    x = ((x ^ (x >> 27)) * _MUL_2) & _MASK
    return x ^ (x >> 31)


def _mix_tensor(x: Int[Tensor, "*any"]) -> Int[Tensor, "*any"]:
    """The same finaliser, elementwise; shifts are made logical by masks because int64 shifts copy the sign."""
    x = x + _signed(_GOLDEN)
    x ^= (x >> 30).bitwise_and_((1 << 34) - 1)
    x *= _signed(_MUL_1)
    x ^= (x >> 27).bitwise_and_((1 << 37) - 1)
    x *= _signed(_MUL_2)
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


@dataclass(frozen=True, eq=False)
class Rows:
    """Named noise for a batch of rows.

    Attributes:
        key: one 64-bit key a row, ``[B]``.
        salt: where in the stream we stand: one python integer for all rows, or ``[B]`` after naming with a tensor.
    """

    key: Int[Tensor, " B"]
    salt: int | Int[Tensor, " B"] = 0

    @classmethod
    def of(cls, seed: int | str, ids: Int[Tensor, " B"], role: str = "") -> Rows:
        """The noise of rows ``ids`` (non-negative integers, such as trial numbers) in the stream ``seed``.

        A ``role`` has a root of its own: BLAKE2 of role and seed, from which the seed's other streams cannot be had.

        Raises:
            ContractError: an id that is no whole number of 0 or more, or a seed that is no text and no integer in
                0..2^64-1: it would name the stream of another.
        """
        if not isinstance(seed, str) and not 0 <= (seed := operator.index(seed)) <= _MASK:
            raise ContractError(
                f"A seed is a text or an integer from 0 to 2^64 - 1, found {seed}. Name another."
            )
        if ids.is_floating_point() or (len(ids) and int(ids.min()) < 0):
            found = ids.dtype if ids.is_floating_point() else int(ids.min())
            raise ContractError(
                f"Rows are numbered by integers of 0 or more, found {found}. Count them from 0."
            )
        bits = _role_bits(role, seed) if role else _name_bits(seed)
        return cls(_mix_tensor(_mix_tensor(ids.to(torch.int64)) ^ _signed(_mix(bits ^ _GOLDEN))))

    def __len__(self) -> int:
        return len(self.key)

    @property
    def device(self) -> torch.device:
        """Where the keys live, and so where the draws appear."""
        return self.key.device

    def __getitem__(self, index: slice | Tensor) -> Rows:
        """The noise of some of the rows."""
        return Rows(self.key[index], self.salt if isinstance(self.salt, int) else self.salt[index])

    def at(self, *names: str | int | Int[Tensor, " B"]) -> Rows:
        """The stream called ``names``: strings, integers, or an integer a row. ``at(a, b) == at(a).at(b)``."""
        salt = self.salt
        for name in names:
            if isinstance(name, Tensor) or isinstance(salt, Tensor):
                bits = (
                    _mix_tensor(name.long())
                    if isinstance(name, Tensor)
                    else _signed(_name_bits(name))
                )
                before = salt if isinstance(salt, Tensor) else _signed(salt)
                salt = _mix_tensor(torch.as_tensor(bits, device=self.device) ^ before)
            else:
                salt = _mix(salt ^ _name_bits(name))
        return Rows(self.key, salt)

    def fork(self, copies: int) -> Rows:
        """Each row ``copies`` times, each copy with noise of its own, side by side: ``[B*copies]``."""
        copy = torch.arange(copies, device=self.device).repeat(len(self))
        salt = self.salt if isinstance(self.salt, int) else self.salt.repeat_interleave(copies)
        return Rows(self.key.repeat_interleave(copies), salt).at("fork", copy)

    def bits(self, *shape: int) -> Int[Tensor, "B *shape"]:
        """64 random bits a draw, as int64."""
        base = self.key + (self.salt if isinstance(self.salt, Tensor) else _signed(self.salt))
        if shape:
            lanes = torch.arange(1, 1 + torch.Size(shape).numel(), device=self.device).mul_(
                _signed(_GOLDEN)
            )
            base = (base[:, None] + lanes).view(len(self), *shape)
        return _mix_tensor(base)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "B *shape"]:
        """Uniform on the open interval (0, 1): the midpoints of 2^23 cells (float32) or 2^52 (float64)."""
        return _unit(self.bits(*shape), dtype)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "B *shape"]:
        """Standard normal through the inverse CDF (float32 reaches 5.3 standard deviations)."""
        return torch.special.ndtri(self.uniform(*shape, dtype=dtype))

    def exponential(
        self, *shape: int, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "B *shape"]:
        """Exponential with mean 1 through the inverse CDF."""
        return -torch.log(self.uniform(*shape, dtype=dtype))

    def integers(self, n: int, *shape: int) -> Int[Tensor, "B *shape"]:
        """Integers 0..n-1, equally likely up to ``n / 2^23``.

        Raises:
            ContractError: ``n`` below 1, or above the 2^23 cells that a float32 uniform has.
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
            ContractError: a row with a weight that is negative or infinite, or with none above 0.
            DivergenceError: a weight that is NaN.
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
                raise _bad_weights(weights)
        return (below <= target).sum(-1).clamp_(max=weights.shape[-1] - 1)

    def gamma(self, shape: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
        """Gamma(shape, 1) for ``shape > 0`` (Marsaglia & Tsang 2000), a try of its own name for each rejection.

        Below 1 the draw is ``Gamma(shape + 1) * u^(1/shape)`` (their section 6).

        Raises:
            ContractError: a shape that is 0, negative or infinite.
            DivergenceError: a shape that is NaN.
        """
        least = shape.amin().item() if shape.numel() else 1.0
        if not least > 0:
            raise _bad_shape(shape, ~(shape > 0))
        element = self.bits(*shape.shape[1:])
        if least >= 1:
            return _marsaglia_tsang(element, shape)
        small = shape < 1
        if not bool(shape.isfinite().all()):
            raise _bad_shape(shape, ~shape.isfinite())
        draw = _marsaglia_tsang(element, torch.where(small, shape + 1, shape))
        # exp(log u / shape), not u ** (1 / shape): torch's pow rounds differently at a vector's tail
        boost = torch.exp(
            torch.log(_unit(_mix_tensor(element ^ _signed(_GOLDEN)), shape.dtype)) / shape
        )
        return torch.where(small, draw * boost, draw)

    def beta(
        self, a: Float[Tensor, "B *shape"], b: Float[Tensor, "B *shape"]
    ) -> Float[Tensor, "B *shape"]:
        """Beta(a, b) as the ratio of two gammas."""
        x = self.at("beta/a").gamma(a)
        return x / (x + self.at("beta/b").gamma(b))

    def dirichlet(self, concentration: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
        """Dirichlet over the last dimension. Rows of ones go through the inverse CDF, one uniform a value."""
        flat = (
            (concentration == 1).flatten(1).all(1)
        )  # by row: what other rows ask for must not matter
        draw = self.exponential(*concentration.shape[1:], dtype=concentration.dtype)
        if not bool(flat.all()):
            tiny = torch.finfo(concentration.dtype).tiny
            general = self.gamma(concentration).clamp_(min=tiny)
            draw = torch.where(flat.view(-1, *[1] * (draw.dim() - 1)), draw, general)
        return draw / draw.sum(-1, keepdim=True)


def _refusal(row: Tensor) -> type[UserError]:
    """NaN comes of a network that has diverged: training keeps what it had before."""
    return DivergenceError if bool(row.isnan().any()) else ContractError


def _bad_weights(weights: Float[Tensor, "B n"]) -> UserError:
    """What is wrong with the first row that nothing can be drawn by."""
    bad = (
        ~(weights >= 0).all(-1)
        | weights.isinf().any(-1)
        | ~(weights > 0).any(-1)
        | weights.sum(-1).isinf()
    )
    row = int(bad.nonzero()[0])
    return _refusal(weights[row])(
        f"Rows.categorical draws by weights that are finite, 0 or more and not all 0; row {row} has "
        f"{weights[row].tolist()}. Give it probabilities: logits.softmax(-1)."
    )


def _bad_shape(shape: Float[Tensor, "B *shape"], bad: Bool[Tensor, "B *shape"]) -> UserError:
    """What is wrong with the first row of which there is no gamma."""
    row = int(bad.reshape(len(bad), -1).any(1).nonzero()[0])
    return _refusal(shape[row])(
        f"Gamma, Beta and Dirichlet draws need finite parameters above 0; row {row} has {shape[row].tolist()}. Look at "
        "what it is computed from."
    )


def _unit(bits: Int[Tensor, "*any"], dtype: torch.dtype) -> Float[Tensor, "*any"]:
    """The high bits of a word as a number in (0, 1); ``(n + 1/2) / 2^k`` is exact in the dtype, so never 0 nor 1."""
    k = 52 if dtype == torch.float64 else 23
    return (bits >> (64 - k)).bitwise_and_((1 << k) - 1).to(dtype).add_(0.5).mul_(2.0**-k)


def _marsaglia_tsang(
    element: Int[Tensor, "*any"], shape: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    """Gamma draws for ``shape >= 1`` from 64 random bits each; only what was rejected is tried again."""
    d_all = (shape - 1 / 3).reshape(-1)
    element = element.reshape(-1)
    out = torch.empty_like(d_all)
    pending = None  # every element, until some were accepted
    d = d_all
    for attempt in range(_MAX_TRIES):
        x = torch.special.ndtri(
            _unit(_mix_tensor(element + _signed(_mix(2 * attempt))), shape.dtype)
        )
        u = _unit(_mix_tensor(element + _signed(_mix(2 * attempt + 1))), shape.dtype)
        v = x.div(3 * d.sqrt()).add_(1)
        v = v * v * v
        accept = (v > 0) & (
            torch.log(u) < 0.5 * x * x + d - d * v + d * torch.log(v.clamp(min=1e-30))
        )
        value = d * v
        if pending is None:
            out.copy_(value)
            pending = (~accept).nonzero().squeeze(-1)
            element, d = element[pending], d[pending]
        else:
            out[pending[accept]] = value[accept]
            keep = ~accept
            pending, element, d = pending[keep], element[keep], d[keep]
        if pending.numel() == 0:
            return out.view(shape.shape)
    raise _bad_shape(shape, ~shape.isfinite())  # nothing else is rejected so often
