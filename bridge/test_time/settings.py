"""Settings of gradient steps within a trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bridge.config import Bounded, CountOrZero, Positive, Share
from bridge.maths.baselines import Baseline
from bridge.protocol import Trial
from bridge.test_time.objective import episodes_apart

Signal = Literal["reward", "demos"]
"""Policy gradient on rewards, or behaviour cloning of a context."""


@dataclass(frozen=True, kw_only=True)
class GradientSteps(Bounded):
    """Number, size and interval of the gradient steps of a trial."""

    inner_steps: CountOrZero = 20
    """Gradient steps each time."""
    inner_rule: Literal["adam", "sgd"] = "adam"
    """Optimiser of these steps."""
    inner_lr: Positive = 1e-2
    """Learning rate."""
    inner_every: CountOrZero = 0
    """Episodes between them (``reward``). 0: a quarter of a trial's, from 2 to 20, as MAML."""
    inner_clip: Positive = 0.2
    """Largest change of an action's probability, as a ratio, before its gradient stops (``reward``)."""
    inner_gamma: Share = 0.99
    """Discount a step."""
    inner_lam: Share = 0.9
    """Trace of the generalised advantage."""
    inner_baseline: Baseline = "linear"
    """Baseline of returns: a linear fit to observation and time, or the mean at each time."""
    inner_norm: Positive = 1.0
    """Each trial's gradients are scaled down to this norm."""

    by_reward: ClassVar[tuple[str, ...]] = (
        "inner_every",
        "inner_clip",
        "inner_gamma",
        "inner_lam",
        "inner_baseline",
    )
    """Fields that only the signal ``reward`` reads."""

    def interval(self, trial: Trial) -> int:
        """Episodes between gradient steps.

        Raises:
            UserError: as ``episodes_apart``.
        """
        return episodes_apart(self.inner_every, trial, "inner_every")
