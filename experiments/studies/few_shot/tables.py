"""Tables of the study: returns by shots and gradient steps, and the claim.

Shape letters: T blocks of tasks.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from bridge.files import write_text
from bridge.report import escape
from experiments.studies.few_shot.curves import Curve, Curves, estimate, text
from experiments.studies.few_shot.variants import Variant
from experiments.studies.markdown import table

_POINT = ("split", "method", "tuned", "steps", "shots")
_COSTS = ("taken", "refused", "trained", "seconds", "flops")


def show(curves: Curves) -> None:
    """Print a table for each split, as Markdown of at most 80 columns: the first shot, the last, and the gain."""
    for split, variants in curves.items():
        points = next(iter(variants.values())).points
        print(
            f"\n**{split}** · return of the scored episode after so many shots (0 steps: as it is)\n"
        )
        shots = (f"{shots} shots" for shots in _ends(points))
        heads = ("method", "tuned", "steps", *shots, "minus 0 steps")
        rows = (_row(variant, curve, variants) for variant, curve in variants.items())
        print(table(heads, rows, texts=2))


def _row(variant: Variant, curve: Curve, variants: dict[Variant, Curve]) -> tuple[object, ...]:
    untouched = variants[variant._replace(way="", steps=0)]
    gain = text((curve.score - untouched.score)[:, -1]) if variant.steps else ""
    name = escape.markdown(variant.method)
    return name, variant.way, variant.steps, *map(text, _ends([*curve.score.T])), gain


def _ends(values: Sequence[Any]) -> list[Any]:
    """The first and the last value, or the only one."""
    return [values[i] for i in sorted({0, len(values) - 1})]


def write(curves: Curves, path: Path) -> None:
    """Write every point of every curve with its costs, as CSV."""
    with io.StringIO(newline="") as file:
        out = csv.writer(file)
        out.writerow((*_POINT, "mean", "low", "high", *_COSTS))
        for split, variants in curves.items():
            for variant, curve in variants.items():
                names = [
                    escape.comma_separated(name) for name in (split, variant.method, variant.way)
                ]
                costs = [
                    np.broadcast_to(getattr(curve, name), len(curve.points)) for name in _COSTS
                ]
                for point, shots in enumerate(curve.points):
                    mean, low, high, *_ = estimate(curve.score[:, point])
                    numbers = (mean, low, high, *(cost[point] for cost in costs))
                    out.writerow((*names, variant.steps, shots, *(f"{x:.6g}" for x in numbers)))
        write_text(path, file.getvalue())


def show_claim(curves: Curves) -> None:
    """Print the return of methods that adapt in context less that of methods that adapt by gradient steps alone, after
    the last shot, as Markdown."""
    for split, variants in curves.items():
        last = {variant: curve.score[:, -1] for variant, curve in variants.items()}
        reading = [variant for variant in last if not variant.alone and not variant.steps]
        alone = [variant for variant in last if variant.alone and variant.steps]
        if not reading or not alone:
            continue
        print(
            f"\n**{split}** · in context, less gradient steps alone (open: the interval holds 0)\n"
        )
        names = [escape.markdown(variant.method) for variant in reading]
        rows = [("nothing", "", "", "", *(text(last[variant]) for variant in reading))]
        for other in alone:
            gaps = (_verdict(last[variant] - last[other]) for variant in reading)
            about = (escape.markdown(other.method), other.way, other.steps, text(last[other]))
            rows.append((*about, *gaps))
        print(table(("less", "tuned", "steps", "return", *names), rows, texts=2))


def _verdict(gap: Float[np.ndarray, " T"]) -> str:
    """A difference with its interval, and on which side of 0 the interval lies."""
    found = estimate(gap)
    side = "ahead" if found.low > 0 else "behind" if found.high < 0 else "open"
    return f"{text(gap)} {side}"
