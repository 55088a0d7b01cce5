"""Tables of the study: how well each signal foretells failures, and what a switch gains by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.detection.signals import SIGNALS
from bridge.evaluation.stats import Interval
from bridge.report import escape
from experiments.studies.detection.scores import ALARMS, MARGIN, OfSignal, Scored
from experiments.studies.markdown import short, table
from experiments.studies.named import Named


def markdown(
    family: str,
    episodes: int,
    found: Mapping[tuple[str, str], Scored],
    fallbacks: Mapping[str, str],
) -> str:
    """Return tables of AUROC and of switches, and the fallbacks.

    Args:
        family: the family.
        episodes: the number of shots of a trial.
        found: by axis and method.
        fallbacks: the name of the fallback of each method.
    """
    shots = next(iter(found.values())).shots
    blocks = [
        f"Signals of failure on {family}, from the first {shots} of {episodes} shots that a method explores itself, on "
        "id and all levels of an axis, as many trials of each. A trial fails if it scores less, after all shots, than "
        f"if the method had handed over to its fallback after those {shots}, by more than {MARGIN:g}. Scores are 0 for "
        "random play on the split and 1 for the oracle. Intervals of 95% over training seeds, on these trials.",
        "**AUROC**: the chance that a failed trial has the larger signal; 0.5 knows nothing. hindsight: that of the "
        "regret after those shots, which no agent knows.",
        _table(("failures", "hindsight"), found, "auroc"),
        "**AUROC within splits**: of pairs of trials of the same split, so that telling splits apart is worth nothing.",
        _table((), found, "within"),
        f"**Switch to the fallback** in trials above the threshold that {ALARMS:.0%} of trials of id_val are above: "
        "the score, less that of the better of never and always switching.",
        _table(("never", "always", "best"), found, "gain"),
        "Fallbacks: "
        + "; ".join(f"{escape.markdown(a)}: {escape.markdown(b)}" for a, b in fallbacks.items())
        + ".",
    ]
    return "\n\n".join(blocks) + "\n"


def _table(about: Sequence[str], found: Mapping[tuple[str, str], Scored], score: str) -> str:
    """A line for each axis and method: some of its numbers, then a score of each signal."""
    rows = [
        (
            axis,
            escape.markdown(method),
            *(short(getattr(of, name)) for name in about),
            *(
                short(getattr(of.signals[name], score)) if name in of.signals else ""
                for name in SIGNALS
            ),
        )
        for (axis, method), of in found.items()
    ]
    return table(("axis", "method", *about, *SIGNALS), rows, texts=2)


def named(found: Mapping[tuple[str, str], Scored]) -> Named:
    """Return every score by axis, method, signal and the score's name; those of no signal have an empty one."""
    numbers: dict[tuple[str, ...], Interval] = {}
    for (axis, method), of in found.items():
        for name in ("failures", "hindsight", "never", "always", "best"):
            numbers[axis, method, "", name] = getattr(of, name)
        for signal, scores in of.signals.items():
            for name in OfSignal._fields:
                if name != "curve":
                    numbers[axis, method, signal, name] = getattr(scores, name)
    return numbers
