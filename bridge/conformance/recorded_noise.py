"""Noise that writes down what was drawn from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Int
from torch import Tensor

from bridge.rng import Rows


@dataclass(frozen=True, eq=False)
class RecordedNoise(Rows):
    """Rows whose every draw, of these and of all streams named from them, is logged."""

    log: list[tuple[int | Tensor, Tensor, tuple[int, ...]]] = field(default_factory=list)

    @classmethod
    def of_rows(cls, rows: Rows) -> RecordedNoise:
        """The same noise, with an empty log."""
        return cls(rows.key, rows.salt)

    def __getitem__(self, index: slice | Tensor) -> RecordedNoise:
        return self._log_to(super().__getitem__(index))

    def at(self, *names: str | int | Int[Tensor, " B"]) -> RecordedNoise:
        """The stream called ``names``, under the same log."""
        return self._log_to(super().at(*names))

    def fork(self, copies: int) -> RecordedNoise:
        """Copies of each row, under the same log."""
        return self._log_to(super().fork(copies))

    def bits(self, *shape: int) -> Int[Tensor, "B *shape"]:
        """Every law draws its bits here."""
        self.log.append((self.salt, self.key, shape))
        return super().bits(*shape)

    def draws(self) -> list[tuple]:
        """What was drawn: stream and rows and shape of each draw, in order, as plain values."""
        plain = (
            (salt.tolist() if isinstance(salt, Tensor) else salt, key.tolist(), shape)
            for salt, key, shape in self.log
        )
        return list(plain)

    def _log_to(self, rows: Rows) -> RecordedNoise:
        return RecordedNoise(rows.key, rows.salt, self.log)
