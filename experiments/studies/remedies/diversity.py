"""Scores by the number of distinct training tasks, at equal budgets.

A learner that has met M tasks alone may have learned these (``bayes_tasks``) instead of their distribution
(``bayes_train``). Raventós et al. 2023 (arXiv 2306.15063) found a number of tasks above which in-context regression
leaves the first for the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.report import escape
from bridge.report.summary import Key, Results
from experiments.cells import Cell
from experiments.studies import players
from experiments.studies.markdown import number, table
from experiments.studies.players import Player

BOUNDS = ("random", "oracle", "bayes_train", "bayes_tasks")
"""References that are played on each family."""
_UNLIMITED = "unlimited"


@dataclass(frozen=True)
class Diversity:
    """Methods on one family, trained on each number of tasks."""

    family: str
    """The name of a family of the zoo."""
    methods: tuple[str, ...]
    tasks: tuple[int, ...]
    """Numbers of distinct training tasks; all runs are compared with those of the unlimited distribution."""
    splits: tuple[str, ...]
    seeds: tuple[int, ...]
    trials: int
    share: float
    """The share of their budget that all runs get; below 1, none that ships is played."""
    out: Path

    def cells(self) -> list[Cell]:
        """Return all cells."""
        needs = [
            (self._player(method, tasks), split)
            for method in self.methods
            for tasks in (0, *self.tasks)
            for split in self.splits
        ]
        return players.cells(
            needs, self.seeds, self.trials, self.out, shorter=self.share, bounds=BOUNDS
        )[0]

    def _player(self, method: str, tasks: int) -> Player:
        return Player(method, on=self.family, variant=f"tasks={tasks}" if tasks else "")

    def keys(self, method: str, split: str) -> dict[str, Key]:
        """Return the key of the rows of a method on a split for each number of training tasks, in words."""
        numbers = {f"{tasks:,}": tasks for tasks in self.tasks} | {_UNLIMITED: 0}
        return {
            words: Key(self._player(method, tasks).family.id, split, method)
            for words, tasks in numbers.items()
        }

    def markdown(self, results: Results) -> str:
        """Return a table of scores for each split."""
        blocks = []
        for split in self.splits:
            rows = []
            for method in (*BOUNDS[2:], *self.methods):
                scores = [results.score(key) for key in self.keys(method, split).values()]
                if any(scores):
                    shown = (number(score) if score else "" for score in scores)
                    rows.append((escape.markdown(method), *shown))
            heads = ("distinct training tasks", *self.keys(self.methods[0], split))
            blocks += [f"**{split}**", table(heads, rows, texts=1)]
        return "\n\n".join(blocks)

    def draw(self, results: Results, splits: Sequence[str], folder: Path) -> Path:
        """Draw a panel for each of some splits; return the path of the PNG."""
        from matplotlib.figure import Figure

        from bridge.report.figures.drawing import WIDTH, band, legend, save, style

        cast = _cast([*self.methods, *BOUNDS[2:]])
        with style():
            figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
            panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
            for split, panel in zip(splits, panels, strict=True):
                for method, drawn in cast.items():
                    keys = self.keys(method, split)
                    scores = [results.score(key) for key in keys.values()]
                    known = {x: score for x, score in enumerate(scores) if score is not None}
                    if known:
                        band(panel, list(known), list(known.values()), drawn)
                panel.set_xticks(
                    range(len(self.tasks) + 1), self.keys(self.methods[0], split), rotation=60
                )
                panel.set_xlabel("distinct training tasks")
                panel.set_title(split)
            panels[0].set_ylabel("score")
            legend(figure, cast.values())
            return save(figure, folder / "diversity")


def _cast(methods: Iterable[str]):
    """The looks of methods and references."""
    from bridge.report.figures.drawing import Drawn
    from bridge.report.figures.looks import looks
    from experiments import specs

    names = list(methods)
    look = looks(specs.names(), set(names))
    return {name: Drawn(name, look[name], reference=name in BOUNDS) for name in names}
