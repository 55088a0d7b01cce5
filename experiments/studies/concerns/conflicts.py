"""Conflicts of the tasks' gradients over training, at both ends of each dial.

The training is plain: the gradients are averaged, and their inner products logged (``combine=equal``). No id is hidden,
so that pairs are pairs of known tasks.

Shape letters: S training seeds, U updates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bridge.report.figures.drawing import WIDTH, Drawn, band, legend, save, style
from bridge.training import train_log
from experiments.cells import Cell
from experiments.studies.concerns import over_seeds
from experiments.studies.concerns.making import Maker, Score
from experiments.studies.concerns.mitigations import Mitigation
from experiments.studies.concerns.testbeds import Testbed
from experiments.studies.markdown import number, table

_OBSERVED = Mitigation("ids shown", settings="combine=equal,hidden_ids=0")


class Conflict(NamedTuple):
    """The log of a training, by seed and update: as many updates as the shortest training has, evenly spread
    over each."""

    share: Float[np.ndarray, "S U"]
    """Share of the pairs of tasks whose gradients have a negative cosine."""
    cosine: Float[np.ndarray, "S U"]
    """Mean cosine of all pairs."""


End = tuple[Testbed, str]
"""A testbed and a value of its dial."""


@dataclass(frozen=True)
class Conflicts:
    """The measure."""

    make: Maker
    testbeds: tuple[Testbed, ...]
    """Those that train on two tasks or more at once, at both ends."""
    seeds: tuple[int, ...]
    rates: Mapping[str, float]
    """Learning rates, by the testbed's name."""

    def cells(self) -> dict[tuple[End, int], Cell]:
        """Return the trainings at both ends of each dial, by seed."""
        return {
            ((testbed, value), seed): self.make.trained(
                _OBSERVED.spec(testbed, self.rates[testbed.name]),
                testbed.at(value),
                _OBSERVED.name,
                seed,
                testbed.steps,
            )
            for testbed in self.testbeds
            for value in (testbed.bottom, testbed.top)
            for seed in self.seeds
        }

    def show(self, score: Score, folder: Path) -> str:
        """Draw conflicts over training; return the table of both halves. (Scores are not needed.)"""
        found = read(self.cells())
        draw(found, folder)
        return text(found)


def read(made: Mapping[tuple[End, int], Cell]) -> dict[End, Conflict]:
    """Return the conflicts of the cells, which have been trained."""
    by_end: dict[End, list[list[tuple[float, float]]]] = {}
    for (end, _), cell in made.items():
        lines = train_log.read(cell.training.out)[0] if cell.training else []
        by_end.setdefault(end, []).append([(x["conflicts"], x["cosine"]) for x in lines])
    return {end: Conflict(*np.moveaxis(_aligned(runs), 2, 0)) for end, runs in by_end.items()}


def _aligned(runs: list[list[tuple[float, float]]]) -> Float[np.ndarray, "S U 2"]:
    """Trainings with as many updates each."""
    updates = min(map(len, runs))
    return np.stack(
        [np.array(run)[np.linspace(0, len(run) - 1, updates).round().astype(int)] for run in runs]
    )


def text(found: Mapping[End, Conflict]) -> str:
    """Return a table of the first and the second half of training."""
    rows = []
    for (testbed, value), conflict in found.items():
        half = conflict.share.shape[1] // 2
        parts = (conflict.share[:, :half], conflict.share[:, half:], conflict.cosine)
        rows.append((testbed.name, value, *(number(over_seeds.mean(part)) for part in parts)))
    heads = ("testbed", "dial", "first half (-)", "second half (-)", "mean cosine (+)")
    return (
        "**How often do gradients conflict?** Share of the pairs of tasks whose gradients have a negative cosine, by "
        f"half of training; less is better. Mean cosine: more is better\n\n{table(heads, rows, texts=2)}"
    )


def draw(found: Mapping[End, Conflict], folder: Path) -> Path:
    """Draw a panel for each testbed: conflicts over training, at both ends of its dial; return the path of the PNG."""
    from matplotlib.figure import Figure

    ends = {
        "bottom of the dial": {"color": "#56B4E9", "marker": "o", "linestyle": "-"},
        "top of the dial": {"color": "#D55E00", "marker": "s", "linestyle": "-"},
    }
    cast = [Drawn(name, look) for name, look in ends.items()]
    testbeds = tuple(dict.fromkeys(testbed for testbed, _ in found))
    with style():
        figure = Figure(figsize=(WIDTH, 2.2), layout="constrained")
        panels = figure.subplots(1, len(testbeds), squeeze=False, sharey=True)[0]
        for testbed, panel in zip(testbeds, panels, strict=True):
            for value, drawn in zip((testbed.bottom, testbed.top), cast, strict=True):
                share = found[testbed, value].share
                done = np.linspace(0, 1, share.shape[1]).tolist()
                band(panel, done, [over_seeds.mean(column[:, None]) for column in share.T], drawn)
            panel.set_title(f"{testbed.name} (dial: {testbed.bottom} or {testbed.top})")
            panel.set_xlabel("share of training")
        panels[0].set_ylim(0, 1)
        panels[0].set_ylabel("share of pairs in conflict")
        legend(figure, cast)
        return save(figure, folder / "conflicts")
