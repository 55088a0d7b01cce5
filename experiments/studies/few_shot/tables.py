"""What the cells gave, as Markdown: returns by shots and gradient steps, and the claim.

Shape letters: T blocks of tasks.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from jaxtyping import Float

from bridge.files import write_text
from bridge.report import escape
from experiments.studies.few_shot.cells import Cell
from experiments.studies.few_shot.curves import Curve, estimate, pooled, text

_POINT = ("split", "method", "tuned", "steps", "shots")
_COSTS = ("taken", "refused", "trained", "seconds", "flops")


def show(found: dict[Cell, Curve]) -> None:
    """Tables, as Markdown."""
    for split in dict.fromkeys(cell.split for cell in found):
        curves = pooled(found, split)
        points = next(iter(curves.values())).points
        print(
            f"\n**{split}** · return of the scored episode after so many shots (0 steps: as it is)\n"
        )
        heads = (
            "method",
            "tuned",
            "steps",
            "taken",
            "refused",
            "weights",
            *points,
            "minus 0 steps",
            "s",
            "Mflop",
        )
        print(f"| {' | '.join(map(str, heads))} |")
        print("|---|---|" + "--:|" * (len(heads) - 2))
        for kind, curve in curves.items():
            untouched = curves[kind._replace(way="", steps=0)]
            gain = text((curve.score - untouched.score)[:, -1]) if kind.steps else ""
            print(
                f"| {escape.markdown(kind.method)} | {kind.way} | {kind.steps} | {curve.taken[-1]:g} | "
                f"{curve.refused[-1]:g} | {curve.trained:,.0f} | {' | '.join(map(text, curve.score.T))} | {gain} | "
                f"{curve.seconds[-1]:.3f} | {curve.flops[-1] / 1e6:,.0f} |"
            )


def write(found: dict[Cell, Curve], path: Path) -> None:
    """Every point of every curve with its costs, as CSV."""
    with io.StringIO(newline="") as file:
        out = csv.writer(file)
        out.writerow((*_POINT, "mean", "low", "high", *_COSTS))
        for split in dict.fromkeys(cell.split for cell in found):
            for kind, curve in pooled(found, split).items():
                for p, shots in enumerate(curve.points):
                    band = estimate(curve.score[:, p])
                    spent = (
                        np.broadcast_to(getattr(curve, name), len(curve.points))[p]
                        for name in _COSTS
                    )
                    numbers = (band.mean, band.low, band.high, *spent)
                    names = map(escape.comma_separated, (split, kind.method, kind.way))
                    out.writerow((*names, kind.steps, shots, *(f"{x:.6g}" for x in numbers)))
        write_text(path, file.getvalue())


def show_claim(found: dict[Cell, Curve]) -> None:
    """What adapts in context less what adapts by gradient steps alone, after the last shot, as Markdown."""
    for split in dict.fromkeys(cell.split for cell in found):
        last = {kind: curve.score[:, -1] for kind, curve in pooled(found, split).items()}
        reading = [kind for kind in last if not kind.alone and not kind.steps]
        alone = [kind for kind in last if kind.alone and kind.steps]
        if not reading or not alone:
            continue
        print(
            f"\n**{split}** · in context, less gradient steps alone (open: the interval holds 0)\n"
        )
        print(
            f"| less | tuned | steps | return | {' | '.join(escape.markdown(kind.method) for kind in reading)} |"
        )
        print("|---|---|--:|--:|" + "--:|" * len(reading))
        print(f"| nothing |  |  |  | {' | '.join(text(last[kind]) for kind in reading)} |")
        for other in alone:
            gaps = " | ".join(_verdict(last[kind] - last[other]) for kind in reading)
            print(
                f"| {escape.markdown(other.method)} | {other.way} | {other.steps} | {text(last[other])} | {gaps} |"
            )


def _verdict(gap: Float[np.ndarray, " T"]) -> str:
    """A difference with its interval, and which side of 0 that is on."""
    found = estimate(gap)
    side = "ahead" if found.low > 0 else "behind" if found.high < 0 else "open"
    return f"{text(gap)} {side}"
