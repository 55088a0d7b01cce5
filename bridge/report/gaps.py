"""The gap of a method to the oracle on one split, and its parts.

A scored episode follows a context: that of a common behaviour agent (track C), or of the method's own exploration
(track F). The regret of the method on track F is taken apart along a ladder of agents, all of the others on track C:

    information = bayes                  the best learner cannot know the task from this context either
    prior       = bayes_train - bayes    nor can a learner of the training distribution
    inference   = method - bayes_train   what the method does not make of the context, divided below
    exploration = method on track F - on track C    its own context serves it less (or better, below 0)

Inference is divided further, if it is known what more gradient steps or a better use of the memory would gain:

    optimisation   = method - method with more gradient steps
    representation = probe of the method's memory - probe of the exact learner's    what cannot be read off the memory
    inference      = the rest

All are regrets of a scored episode in units of the regret of random play, which is 1 less the score. The parts add up
to the regret of the method on track F.

Shape letters: S training seeds, T tasks (or blocks of tasks).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bridge.evaluation import stats
from bridge.evaluation.stats import Interval, Resampled

Regrets = Float[np.ndarray, "S T"]
"""Regrets of each training seed on each task."""
OfReference = Float[np.ndarray, "1 T"]
PARTS = ("information", "prior", "representation", "inference", "optimisation", "exploration")
"""Names of parts, in the order of bars."""


class Gap(NamedTuple):
    """The gap of a method to the oracle, in units of score, and its parts."""

    total: Interval
    parts: dict[str, Interval]
    """By name, in the order of ``PARTS``; they add up to ``total``. Those that are not known are left out."""


class Probes(NamedTuple):
    """Regrets of actions that are read off memories in the same way."""

    method: Regrets
    exact: OfReference
    """Of the memory of the exact learner of the training distribution."""


def gap(
    *,
    random: OfReference,
    bayes: OfReference,
    bayes_train: OfReference,
    on_context: Regrets,
    free: Regrets,
    with_steps: Regrets | None = None,
    probes: Probes | None = None,
) -> Gap:
    """The gap of a method, from regrets on the same tasks.

    Args:
        random: of random play.
        bayes: of the exact learner of the split.
        bayes_train: of the exact learner of the training distribution.
        on_context: of the method on track C.
        free: of the method on track F, by the same seeds.
        with_steps: of the method with more gradient steps, on track C, by the same seeds; None: it takes none.
        probes: of its memory, by the same seeds; None: not known.
    """
    optimisation = None if with_steps is None else on_context - with_steps
    representation = None if probes is None else probes.method - probes.exact
    rest = on_context - bayes_train
    for known in (optimisation, representation):
        rest = rest if known is None else rest - known
    regrets = {
        "information": bayes,
        "prior": bayes_train - bayes,
        "representation": representation,
        "inference": rest,
        "optimisation": optimisation,
        "exploration": free - on_context,
    }
    parts = {name: _share(part, random) for name, part in regrets.items() if part is not None}
    return Gap(_share(free, random), parts)


def _share(regret: Regrets, random: OfReference) -> Interval:
    """A mean regret in units of that of random play. Seeds that are all alike are one, whose interval is over tasks."""
    alike = (regret == regret[:1]).all()
    return stats.interval(_ratio, regret[:1] if alike else regret, random)


def _ratio(regret: Resampled, random: Resampled) -> Float[np.ndarray, " R"]:
    return regret.mean() / random.mean()
