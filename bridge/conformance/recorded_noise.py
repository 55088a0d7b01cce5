"""Noise that records all draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Int
from torch import Tensor

from bridge.rng import Rows


@dataclass(frozen=True, eq=False)
class RecordedNoise(Rows):
    """Rows that log every draw from them and from all streams named from them."""

    log: list[tuple[Any, list[int], tuple[int, ...]]] = field(default_factory=list)
    """Stream, rows and shape of each draw, in order."""

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
        """The bits that all distributions are made of; logs the draw."""
        salt = self.salt.tolist() if isinstance(self.salt, Tensor) else self.salt
        self.log.append((salt, self.key.tolist(), shape))
        return super().bits(*shape)

    def _log_to(self, rows: Rows) -> RecordedNoise:
        return RecordedNoise(rows.key, rows.salt, self.log)
