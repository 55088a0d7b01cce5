"""The leaderboard: methods by their score on ``id`` and on each axis of shift at its strongest level.

A cell is the mean over the families that have its column. Families are independent, so the halves of their intervals
combine in quadrature. A method that plays fewer families than the column has is marked there, and stands after those
that play all. If no method has a score (the track lacks random play or an oracle), there is a column for each family
instead: the return on ``id``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from bridge.evaluation.stats import Interval, averaged
from bridge.report.reading import Key
from bridge.report.summary import Results
from bridge.tasks import family as make_family

_REFERENCES = ("bayes", "bayes_train")
"""References that stand below learned methods; random play is 0 and the oracle 1."""


class Column(NamedTuple):
    """A column: ``id``, an axis at a level, or a family's returns."""

    name: str
    level: int
    """The level of the axis; 0 if there is none."""
    splits: dict[str, str]
    """The split that is averaged, by family."""


class Cell(NamedTuple):
    """The numbers of a method in a column."""

    by_family: dict[str, Interval]
    complete: bool
    """True if the method plays every family that the column has."""

    @property
    def mean(self) -> Interval | None:
        """The mean over families; None if the method plays none of them."""
        return averaged(list(self.by_family.values())) if self.by_family else None


class Row(NamedTuple):
    """A method."""

    method: str
    about: dict[str, Any]
    """Its description, as ``Results.about`` has it for a split."""
    cells: list[Cell]
    """A cell for each column."""
    ranks: dict[str, int]
    """Its place among learned methods on ``id``, by family; empty for references."""

    @property
    def order(self) -> tuple[bool, float, str]:
        """A sort key: complete rows first, the highest mean of the first column first."""
        mean = self.cells[0].mean
        return not self.cells[0].complete, -mean.mean if mean else math.inf, self.method


@dataclass(frozen=True)
class Board:
    """The leaderboard of one track."""

    track: str
    episodes: int
    """Most episodes before the last score: of the trial, or shown or explored on tracks C and F."""
    ceiling: str
    """The reference whose score is 1; empty if cells are returns."""
    families: dict[str, str]
    """The families that were played, each with the shortest name that is its own."""
    columns: list[Column]
    learned: list[Row]
    """Learned methods, best in the first column first."""
    references: list[Row]
    """Bayes-optimal play; all references that are no bound if no method is learned."""

    @property
    def level(self) -> int | None:
        """The level of all axes; None if they differ, or if there are none."""
        levels = {column.level for column in self.columns if column.level}
        return levels.pop() if len(levels) == 1 else None


def boards(results: Results) -> list[Board]:
    """The leaderboard of each track, own exploration first."""
    tracks = sorted({key.track for key in results.about}, key="OCF".index)
    made = (_board(results, track) for track in tracks)
    return [board for board in made if board]


def _board(results: Results, track: str) -> Board | None:
    """The leaderboard of a track; None if it has no column."""
    ceiling, numbers = _numbers(results, track)
    played = {key.family for key in numbers}
    columns = _score_columns(results, numbers) if ceiling else _return_columns(numbers)
    if not columns:
        return None
    about = {key.method: results.about[key] for key in numbers}
    ranks = _ranks({key: x for key, x in numbers.items() if not about[key.method]["exact"]})
    rows = []
    for method in about.keys() - {"random", ceiling} if ceiling else about:
        cells = []
        for column in columns:
            keys = {f: Key(f, split, method, track) for f, split in column.splits.items()}
            found = {f: numbers[key] for f, key in keys.items() if key in numbers}
            cells.append(Cell(found, len(found) == len(keys)))
        rows.append(Row(method, about[method], cells, ranks.get(method, {})))
    rows.sort(key=lambda row: row.order)
    learned = [row for row in rows if not row.about["exact"]]
    references = [row for row in rows if row.about["exact"]]
    return Board(
        track=track,
        episodes=max(map(results.episodes, numbers)),
        ceiling=ceiling,
        families=_short_names(family for family in results.families if family in played),
        columns=columns,
        learned=learned,
        references=[row for row in references if row.method in _REFERENCES]
        if learned
        else references,
    )


def _numbers(results: Results, track: str) -> tuple[str, dict[Key, Interval]]:
    """The reference whose score is 1, and all scores; if it and random play alone have some: empty, and all returns."""

    def of(metric: str) -> dict[Key, Interval]:
        found = {key: results.number(key, metric) for key in results.about if key.track == track}
        return {key: interval for key, interval in found.items() if interval}

    scores = of(f"score_{results.ceiling}")
    if {key.method for key in scores} - {"random", results.ceiling}:
        return results.ceiling, scores
    return "", of(Key("", "", "", track).scored)


def _score_columns(results: Results, numbers: Mapping[Key, Interval]) -> list[Column]:
    """``id``, then each axis at its strongest level, those of most families first."""
    columns: dict[str, Column] = {}
    for key in numbers:
        axis, level = results.about[key]["axis"], results.about[key]["level"]
        if axis or key.split == "id":
            name = axis or "id"
            if name not in columns or level > columns[name].level:
                columns[name] = Column(name, level, {})
            if level == columns[name].level:
                columns[name].splits[key.family] = key.split
    return sorted(columns.values(), key=lambda c: (c.name != "id", -len(c.splits), c.name))


def _return_columns(numbers: Mapping[Key, Interval]) -> list[Column]:
    """``id`` of each family by itself: returns of different families have no mean."""
    families = dict.fromkeys(key.family for key in numbers if key.split == "id")
    return [Column(name, 0, {family: "id"}) for family, name in _short_names(families).items()]


def _ranks(numbers: Mapping[Key, Interval]) -> dict[str, dict[str, int]]:
    """Each method's place on ``id`` of each family, 1 for the highest mean; equal means share a place."""
    ranks: dict[str, dict[str, int]] = {}
    on_id = {key: interval.mean for key, interval in numbers.items() if key.split == "id"}
    for key, mean in on_id.items():
        better = [k for k, other in on_id.items() if k.family == key.family and other > mean]
        ranks.setdefault(key.method, {})[key.family] = 1 + len(better)
    return ranks


def _short_names(families: Iterable[str]) -> dict[str, str]:
    """Each family's name without its parameters, unless two would be called alike."""
    names = {family: family.partition(":")[0] for family in families}
    alike = list(names.values())
    return {f: name if alike.count(name) == 1 else f for f, name in names.items()}


def still_learning(results: Results) -> dict[str, str]:
    """Return a note for each method that was still learning when its training ended: on which families."""
    found: dict[str, list[str]] = {}
    for family in results.families:
        for method in sorted(results.undertrained(family)):
            found.setdefault(method, []).append(make_family(family).name)
    return {method: f"undertrained on {', '.join(names)}" for method, names in found.items()}
