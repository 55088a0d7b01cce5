"""Tables of the study: how well each signal foretells failures, and what a switch gains by it."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.detection.signals import SIGNALS
from bridge.evaluation.stats import Interval
from bridge.report import escape
from experiments.studies.detection.scores import ALARMS, MARGIN, OfSignal, Scored
from experiments.studies.markdown import short, table
from experiments.studies.named import Named


def markdown(
    family: str, found: Mapping[tuple[str, str], Scored], fallbacks: Mapping[str, str]
) -> str:
    """Return a table of AUROC, one of switches, and the fallbacks.

    Args:
        family: the family.
        found: by axis and method.
        fallbacks: the name of the fallback of each method.
    """
    shots = next(iter(found.values())).shots
    blocks = [
        f"Signals of failure on {family}, from the first {shots} shots that a method explores itself, on id and all "
        f"levels of an axis. A trial fails if its regret after all shots is above the fallback's by {MARGIN:g} of that "
        "of random play. Intervals of 95% over training seeds, on these trials.",
        "**AUROC**: the chance that a failed trial has the larger signal; 0.5 knows nothing.",
        table(
            ("axis", "method", "failures", *SIGNALS),
            [
                (axis, escape.markdown(method), short(of.failures), *_cells(of, "auroc"))
                for (axis, method), of in found.items()
            ],
            texts=2,
        ),
        f"**Switch to the fallback** in trials above the threshold that {ALARMS:.0%} of trials of id_val are above: "
        "the score, less that of the better of never and always switching.",
        table(
            ("axis", "method", "never", "always", "best of both", *SIGNALS),
            [
                (
                    axis,
                    escape.markdown(method),
                    *(short(each) for each in (of.never, of.always, of.best)),
                    *_cells(of, "gain"),
                )
                for (axis, method), of in found.items()
            ],
            texts=2,
        ),
        "Fallbacks: "
        + "; ".join(f"{escape.markdown(a)}: {escape.markdown(b)}" for a, b in fallbacks.items())
        + ".",
    ]
    return "\n\n".join(blocks) + "\n"


def _cells(of: Scored, score: str) -> list[str]:
    return [
        short(getattr(of.signals[name], score)) if name in of.signals else "" for name in SIGNALS
    ]


def named(found: Mapping[tuple[str, str], Scored]) -> Named:
    """Return every score by axis, method, signal and the score's name; those of no signal have an empty one."""
    numbers: dict[tuple[str, ...], Interval] = {}
    for (axis, method), of in found.items():
        for name in ("failures", "never", "always", "best"):
            numbers[axis, method, "", name] = getattr(of, name)
        for signal, scores in of.signals.items():
            for name in OfSignal._fields:
                if name != "curve":
                    numbers[axis, method, signal, name] = getattr(scores, name)
    return numbers
