"""Learning curves: what a method earned on ``id_val`` as it was trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bridge.report.figures.drawing import WIDTH, Drawn, legend, level, logarithmic, title
from bridge.report.figures.scene import Scene, seeds_and_trials
from bridge.report.learning import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(scenes: Sequence[Scene]) -> Figure | None:
    """The return on ``id_val`` over environment steps; if track O was played, also what references earn on ``id``.

    (On other tracks they earn the return of an episode, not of a trial.) Methods that play the same runs, with gradient
    steps at test and without, have one curve.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator

    first, curves = scenes[0], _curves(scenes)
    if not curves:
        return None
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    panel = figure.subplots()
    for drawn, seeds in curves.items():
        _seeds_and_mean(panel, seeds, drawn)
    references = [drawn for drawn in first.cast if drawn.reference and first.track == "O"]
    earned = {drawn: first.results.mean(first.key("id", drawn)) for drawn in references}
    for drawn, mean in earned.items():
        if mean:
            level(panel.axhline, mean.mean, drawn)
    everything = [curve for seeds in curves.values() for curve in seeds]
    if logarithmic([int(curve.env_steps[-1]) for curve in everything]):
        panel.set_xscale("log")
        panel.minorticks_off()
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(EngFormatter())
    panel.set_xlabel("environment steps of training")
    panel.set_ylabel("return of a trial on id_val")
    legend(figure, [*curves, *references])
    n = seeds_and_trials(set(map(len, curves.values())), {c.trials for c in everything} - {0})
    title(
        figure,
        f"{first.family} · learning · {n}" + "; references on id" * any(earned.values()),
        cast=curves,
    )
    return figure


def _curves(scenes: Sequence[Scene]) -> dict[Drawn, list[Curve]]:
    """The curves of the training seeds of each method that is drawn; those of equal runs once, by the shortest name."""
    results, family = scenes[0].results, scenes[0].family
    cast = {drawn.name: drawn for scene in reversed(scenes) for drawn in scene.learned}
    found: dict[bytes, tuple[Drawn, list[Curve]]] = {}
    trained = cast.keys() & results.learning.get(family, {}).keys()
    for name in sorted(trained, key=lambda name: (len(name), name)):
        curves = results.learning[family][name]
        seeds = [curves[seed] for seed in sorted(curves)]
        runs = b"".join(part.tobytes() for curve in seeds for part in curve[:2])
        found.setdefault(runs, (cast[name], seeds))
    order = [drawn.name for drawn in cast.values()]
    return dict(sorted(found.values(), key=lambda pair: order.index(pair[0].name)))


def _seeds_and_mean(panel: Axes, seeds: list[Curve], drawn: Drawn) -> None:
    """Draw the curve of each seed thin, and the mean over seeds heavy, evaluation by evaluation."""
    fewest = min(len(curve.returns) for curve in seeds)
    stacked = np.array([[part[:fewest] for part in curve[:2]] for curve in seeds], float)
    for env_steps, returns in stacked if len(seeds) > 1 else ():
        panel.plot(env_steps, returns, color=drawn.look["color"], lw=0.7, alpha=0.6)
    panel.plot(*stacked.mean(0), label=drawn.label, **drawn.line)
