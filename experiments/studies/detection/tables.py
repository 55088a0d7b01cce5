"""Tables of the study: how well each signal foretells failures, and what a switch gains by it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from bridge.detection.signals import SIGNALS
from bridge.report import escape
from experiments.studies.detection.scores import ALARMS, MARGIN, Scored
from experiments.studies.markdown import short, table


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


def comma_separated(found: Mapping[tuple[str, str], Scored]) -> str:
    """Return every score with its interval, as CSV."""
    with io.StringIO(newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("axis", "method", "signal", "score", "n", "mean", "low", "high"))
        for (axis, method), of in found.items():
            about = (axis, escape.comma_separated(method))
            numbers = {
                ("", name): getattr(of, name) for name in ("failures", "never", "always", "best")
            }
            for signal, scores in of.signals.items():
                for name in ("auroc", "false_alarms", "excess_risk", "gain"):
                    numbers[signal, name] = getattr(scores, name)
            for (signal, name), number in numbers.items():
                values = (f"{x:.6g}" for x in number[:3])
                out.writerow((*about, signal, name, number.n, *values))
        return file.getvalue()
