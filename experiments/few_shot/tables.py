"""What the cells gave, as Markdown: returns by shots and gradient steps, and the claim.

Shape letters: S runs (training seeds) of a method, T blocks of tasks, P curve points.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bridge import results
from bridge.stats import Resampled, interval
from experiments.few_shot.cells import Cell


class Curve(NamedTuple):
    """What a cell gave."""

    points: tuple[int, ...]
    score: Float[np.ndarray, "T P"]
    """Mean return of the scored episode on each block of tasks."""
    grad_steps: float
    seconds: float
    """Of a trial."""
    flops: float
    """Of a trial."""
    trained: int
    """Weights."""


def read(path: Path) -> Curve:
    """One file of ``play``."""
    table = results.read_file(path)
    names = ("task_id", "k_episodes", "episode_return_n", "episode_return_sum")
    task, episodes, n, total = (table[name].to_numpy() for name in names)
    points, point = np.unique(episodes, return_inverse=True)
    place, shape = task * len(points) + point, (task.max() + 1, len(points))
    sums = np.stack([np.bincount(place, weights, shape[0] * shape[1]).reshape(shape) for weights in (n, total)])
    seconds, flops, trained = (table[name][0].as_py() for name in ("test_seconds", "test_flops", "params_trained"))
    steps, trials = float(table["test_grad_steps"].to_numpy().max()), sums[0, :, 0].sum()
    return Curve(tuple(points.tolist()), sums[1] / sums[0], steps, seconds / trials, flops, trained if steps else 0)


def show(found: dict[Cell, Curve]) -> None:
    """Tables, as Markdown."""
    for split in dict.fromkeys(cell.split for cell in found):
        some = {cell: curve for cell, curve in found.items() if cell.split == split}
        points = next(iter(some.values())).points
        print(f"\n**{split}** · return of the scored episode after so many shots (0 steps: as it is)\n")
        print(
            f"| method | tuned | steps | taken | weights | {' | '.join(map(str, points))} | minus 0 steps | s | Mflop |"
        )
        print("|---|---|--:|--:|--:|" + "--:|" * (len(points) + 3))
        for method, way, steps in dict.fromkeys((c.method, c.way, c.steps) for c in some):
            mine = [(c, v) for c, v in some.items() if (c.method, c.way, c.steps) == (method, way, steps)]
            score = np.stack([v.score for _, v in mine])
            base = np.stack([some[c._replace(way="", steps=0)].score for c, _ in mine])
            means = [_text(score[:, :, p]) for p in range(len(points))]
            gain = _text((score - base)[:, :, -1]) if steps else ""
            cost = [
                np.mean([getattr(v, name) for _, v in mine]) for name in ("grad_steps", "trained", "seconds", "flops")
            ]
            print(
                f"| {method} | {way} | {steps} | {cost[0]:g} | {cost[1]:,.0f} | {' | '.join(means)} | {gain} | "
                f"{cost[2]:.3f} | {cost[3] / 1e6:,.0f} |"
            )


def show_claim(found: dict[Cell, Curve]) -> None:
    """What adapts in context less what adapts by gradient steps alone, after the last shot, as Markdown."""
    for split in dict.fromkeys(cell.split for cell in found):
        rows: dict[Cell, list[Float[np.ndarray, " T"]]] = {}
        for cell, curve in found.items():
            if cell.split == split and cell.alone == bool(cell.steps):
                rows.setdefault(cell._replace(run=Path()), []).append(curve.score[:, -1])
        score = {kind: np.mean(last, 0) for kind, last in rows.items()}
        reading, alone = ([kind for kind in score if kind.alone == which] for which in (False, True))
        if not reading or not alone:
            continue
        print(f"\n**{split}** · in context, less gradient steps alone (open: the interval holds 0)\n")
        print(f"| less | tuned | steps | return | {' | '.join(kind.method for kind in reading)} |")
        print("|---|---|--:|--:|" + "--:|" * len(reading))
        print(f"| nothing |  |  |  | {' | '.join(_text(score[kind][None]) for kind in reading)} |")
        for other in alone:
            gaps = " | ".join(_verdict(score[kind] - score[other]) for kind in reading)
            print(f"| {other.method} | {other.way} | {other.steps} | {_text(score[other][None])} | {gaps} |")


def _verdict(gap: Float[np.ndarray, " T"]) -> str:
    """A difference with its interval, and which side of 0 that is on."""
    found = interval(Resampled.mean, gap)
    side = "ahead" if found.low > 0 else "behind" if found.high < 0 else "open"
    return f"{_text(gap[None])} {side}"


def _text(score: Float[np.ndarray, "S T"]) -> str:
    """The mean over runs and tasks, ± half of a 95% interval."""
    found = interval(Resampled.mean, score.mean(0))
    return f"{found.mean:.3f} ±{(found.high - found.low) / 2:.3f}"
