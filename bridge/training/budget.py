"""The budget of a training (environment steps, seconds or floating-point operations), and its cost so far."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from bridge.errors import UserError

Unit = Literal["steps", "seconds", "flops"]

_BOUNDS = {"steps": (1.0, 1e18), "seconds": (1e-9, 1e18), "flops": (1.0, 1e30)}
"""The smallest and the largest budget; environment steps are counted as int64."""
_UNITS = {"": "steps", "steps": "steps", "s": "seconds", "seconds": "seconds", "flops": "flops"}


@dataclass(frozen=True)
class Budget:
    """An amount of training."""

    amount: float
    unit: Unit = "steps"

    @staticmethod
    def parse(text: str) -> Budget:
        """The budget called ``5000000``, ``5e6`` or ``5e6steps``; ``600s`` or ``600seconds`` (of training, without
        evaluations); ``1e15flops``.

        Raises:
            UserError: anything else.
        """
        match = re.fullmatch(r"\s*([0-9_.]+(?:e\+?[0-9]+)?)\s*([a-z]*)\s*", text.lower())
        try:
            amount, unit = float(match[1]), _UNITS[match[2]]  # ty: ignore[not-subscriptable]
        except (TypeError, ValueError, KeyError):
            amount, unit = math.nan, "steps"
        least, most = _BOUNDS[unit]
        if not least <= amount <= most:
            raise UserError(
                "A budget is a number above 0 of steps, seconds or flops, such as 5e6, 600s or 1e15flops (of "
                f"{unit}: from {least:g} to {most:g}); found {text!r}."
            )
        return Budget(amount, unit)  # ty: ignore[invalid-argument-type]

    def __str__(self) -> str:
        count = f"{int(self.amount):,}" if self._is_short else f"{self.amount:g}"
        return f"{count} {'environment steps' if self.unit == 'steps' else self.unit}"

    @property
    def spec(self) -> str:
        """The text that ``parse`` reads: ``4000000``, ``600s``."""
        count = str(int(self.amount)) if self._is_short else repr(self.amount)
        return count + {"steps": "", "seconds": "s", "flops": "flops"}[self.unit]

    @property
    def _is_short(self) -> bool:
        return self.amount < 1e12 and self.amount == int(self.amount)


@dataclass
class Cost:
    """The cost of a training so far, over all processes."""

    env_steps: int = 0
    """Environment steps, inner loops included."""
    grad_steps: int = 0
    """Optimiser steps."""
    seconds: float = 0.0
    """Wall time of the updates; evaluations and checkpoints are not training."""
    flops: float = 0.0
    """Floating-point operations of matrix products, as ``torch.utils.flop_counter`` counts them."""

    def share(self, budget: Budget) -> float:
        """The share of ``budget`` that is used up, 1 or more if it is spent. 1 if the amount used is unknown (NaN)."""
        spent = {"steps": self.env_steps, "seconds": self.seconds, "flops": self.flops}[budget.unit]
        return 1.0 if math.isnan(spent) else spent / budget.amount

    def spends(self, budget: Budget) -> bool:
        """True if ``budget`` is used up, or if the amount used is unknown (NaN)."""
        return self.share(budget) >= 1
