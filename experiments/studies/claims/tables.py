"""The sheet with its verdicts, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from math import isnan

from bridge.report.claims import LEVEL, Effect, Evidence, Verdict
from bridge.words import counted
from experiments.studies.claims.claim import Claim
from experiments.studies.markdown import number, table

HEADS = (
    "claim", "predicted", "verdict", "p", "effect", "side", "bound", "n", "mean", "low", "high",
)  # fmt: skip
"""Columns of the CSV."""


def markdown(
    sheet: Mapping[str, Claim], evidence: Mapping[str, Evidence], found: Mapping[str, Verdict]
) -> str:
    """Return a table of verdicts, then the effects of each claim."""
    rows = [
        (claim.statement, found[name].outcome, claim.prediction, _p(found[name].p))
        for name, claim in sheet.items()
    ]
    judged = [name for name in sheet if found[name].outcome in ("supported", "refuted")]
    hits = sum(sheet[name].prediction == found[name].outcome for name in judged)
    unknown = [name for name in judged if not sheet[name].known]
    surprises = sum(sheet[name].prediction != found[name].outcome for name in unknown)
    blocks = [
        table(("claim", "verdict", "predicted", "p"), rows, texts=3),
        f"{counted(len(judged), 'verdict')} on {counted(len(sheet), 'claim')}, {hits} as predicted; of {len(unknown)} "
        f"on which we had measured nothing before, {surprises} otherwise than predicted. p is corrected for the whole "
        f"sheet (Holm, family-wise error {LEVEL:g}); the intervals below are of 95% each.",
    ]
    for name, claim in sheet.items():
        effects = [_effect(effect) for effect in evidence[name].effects]
        heads = ("effect", "claimed", "found", "n")
        blocks += [
            f"**{name}: {found[name].outcome}.** {claim.statement} Predicted: {claim.prediction}. {claim.because}"
            + f" Known before: {claim.known}" * bool(claim.known),
            table(heads, effects, texts=2),
        ]
    return "\n\n".join(blocks) + "\n"


def _effect(effect: Effect) -> tuple[str, str, str, str]:
    found = effect.found
    claimed = f"{'>' if effect.side == 'above' else '<'} {effect.bound:g}"
    if found is None:
        return effect.name, claimed, "no rows", ""
    return effect.name, claimed, number(found), str(found.n)


def _p(p: float) -> str:
    return "" if isnan(p) else "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0")


def comma_separated(
    sheet: Mapping[str, Claim], evidence: Mapping[str, Evidence], found: Mapping[str, Verdict]
) -> str:
    """Return every effect with its interval, as CSV; those without rows are left out."""
    with io.StringIO(newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(HEADS)
        for name, each in evidence.items():
            about = (name, sheet[name].prediction, found[name].outcome, f"{found[name].p:.4g}")
            for effect in each.effects:
                if effect.found is not None:
                    numbers = (f"{value:.5g}" for value in effect.found[:3])
                    claimed = (effect.name, effect.side, f"{effect.bound:g}")
                    out.writerow((*about, *claimed, effect.found.n, *numbers))
        return file.getvalue()
