"""The figure of the study: the regret of each prompted model in every format, beside other methods as lines."""

from __future__ import annotations

from pathlib import Path

from bridge.report.figures.drawing import WIDTH, save, style
from experiments.studies.prompts.cells import BANDIT, Part
from experiments.studies.prompts.measures import Measures
from experiments.studies.prompts.tables import spreads

_LINES = ("random", "ucb1", "zoo:rl2", "bayes")


def draw(found: dict[Part, Measures], folder: Path) -> Path:
    """Draw a row of points for each method, a point a format or unit; return the path of the PNG."""
    from matplotlib.figure import Figure

    rows = list(spreads(found))[::-1]
    with style():
        figure = Figure(figsize=(WIDTH, 0.4 * len(rows) + 1.4), layout="constrained")
        panel = figure.subplots()
        for y, (_method, varied, regrets) in enumerate(rows):
            colour = "C0" if varied == "formats" else "C1"
            panel.plot(regrets, [y] * len(regrets), "|", color=colour, markersize=12)
        for number, method in enumerate(_LINES):
            part = Part("methods", method, "id")
            if part in found:
                regret = found[part].regret.mean()
                panel.axvline(regret, color="0.6", linewidth=0.8, zorder=0)
                panel.annotate(
                    method,
                    (regret, 1.0 + 0.06 * (number % 2)),
                    xycoords=("data", "axes fraction"),
                    ha="center",
                    va="bottom",
                    fontsize="x-small",
                )
        panel.set_yticks(range(len(rows)), [f"{name}, {varied}" for name, varied, _ in rows])
        panel.set_xlabel(
            f"regret on {BANDIT}, id: a mark for each prompt format, or unit of rewards"
        )
        return save(figure, folder / "prompts")
