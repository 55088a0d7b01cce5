"""What the cells gave, as Markdown: returns by shots and gradient steps, and the claim.

Shape letters: T blocks of tasks.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from experiments.few_shot.cells import Cell
from experiments.few_shot.curves import Curve, estimate, pooled


def show(found: dict[Cell, Curve]) -> None:
    """Tables, as Markdown."""
    for split in dict.fromkeys(cell.split for cell in found):
        curves = pooled(found, split)
        points = next(iter(curves.values())).points
        print(f"\n**{split}** · return of the scored episode after so many shots (0 steps: as it is)\n")
        print(
            f"| method | tuned | steps | taken | weights | {' | '.join(map(str, points))} | minus 0 steps | s | Mflop |"
        )
        print("|---|---|--:|--:|--:|" + "--:|" * (len(points) + 3))
        for kind, curve in curves.items():
            untouched = curves[kind._replace(way="", steps=0)]
            gain = _text((curve.score - untouched.score)[:, -1]) if kind.steps else ""
            print(
                f"| {kind.method} | {kind.way} | {kind.steps} | {curve.grad_steps:g} | {curve.trained:,.0f} | "
                f"{' | '.join(map(_text, curve.score.T))} | {gain} | {curve.seconds:.3f} | {curve.flops / 1e6:,.0f} |"
            )


def show_claim(found: dict[Cell, Curve]) -> None:
    """What adapts in context less what adapts by gradient steps alone, after the last shot, as Markdown."""
    for split in dict.fromkeys(cell.split for cell in found):
        last = {kind: curve.score[:, -1] for kind, curve in pooled(found, split).items()}
        reading = [kind for kind in last if not kind.alone and not kind.steps]
        alone = [kind for kind in last if kind.alone and kind.steps]
        if not reading or not alone:
            continue
        print(f"\n**{split}** · in context, less gradient steps alone (open: the interval holds 0)\n")
        print(f"| less | tuned | steps | return | {' | '.join(kind.method for kind in reading)} |")
        print("|---|---|--:|--:|" + "--:|" * len(reading))
        print(f"| nothing |  |  |  | {' | '.join(_text(last[kind]) for kind in reading)} |")
        for other in alone:
            gaps = " | ".join(_verdict(last[kind] - last[other]) for kind in reading)
            print(f"| {other.method} | {other.way} | {other.steps} | {_text(last[other])} | {gaps} |")


def _verdict(gap: Float[np.ndarray, " T"]) -> str:
    """A difference with its interval, and which side of 0 that is on."""
    found = estimate(gap)
    side = "ahead" if found.low > 0 else "behind" if found.high < 0 else "open"
    return f"{_text(gap)} {side}"


def _text(score: Float[np.ndarray, " T"]) -> str:
    """The mean, ± half of a 95% interval."""
    found = estimate(score)
    return f"{found.mean:.3f} ±{(found.high - found.low) / 2:.3f}"
