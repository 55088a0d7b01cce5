"""The leaderboard: methods by their score on ``id`` and on each axis of shift at its strongest level.

A cell is the mean over the families that have its column. Families are independent, so the halves of their intervals
combine in quadrature. A method that plays fewer families than the column has is marked there, and stands after those
that play all. If no method has a score (the track lacks random play or an oracle), there is a column for each family
instead: the return on ``id``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from bridge.evaluation.stats import Interval, averaged
from bridge.report.reading import Key
from bridge.report.summary import Results
from bridge.tasks import family as make_family

_REFERENCES = ("random", "oracle", "specialists", "bayes", "bayes_train")
"""References that stand below learned methods; in a table of scores, random play and the ceiling are 0 and 1."""


class Column(NamedTuple):
    """A column: ``id``, an axis at a level, or a family's returns."""

    name: str
    level: int | None
    """The level of the axis; None if the column is no axis."""
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
    """Its description, as ``Results.about`` has it for a split; ``exact`` is near if it is so on some splits alone."""
    seeds: dict[str, int]
    """The number of its training seeds by family, on the split that has fewest."""
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
    episodes: tuple[int, int]
    """Fewest and most episodes before the last score: of the trial, or shown or explored on tracks C and F."""
    ceiling: str
    """The reference whose score is 1; empty if cells are returns."""
    families: dict[str, str]
    """The families that have a number here, each with the shortest name that is its own."""
    unscored: list[str]
    """The names of families that were played on the track, and that are missing because they have no scores."""
    columns: list[Column]
    learned: list[Row]
    """Learned methods, best in the first column first."""
    references: list[Row]
    """Bayes-optimal play, and the bounds of scores if cells are returns; all references if no method is learned."""

    @property
    def level(self) -> int | None:
        """The level of all axes; None if they differ, or if there are none."""
        levels = {column.level for column in self.columns if column.level is not None}
        return levels.pop() if len(levels) == 1 else None


def boards(results: Results) -> list[Board]:
    """The leaderboard of each track, own exploration first."""
    tracks = sorted({key.track for key in results.about}, key="OCF".index)
    made = (_board(results, track) for track in tracks)
    return [board for board in made if board]


def _board(results: Results, track: str) -> Board | None:
    """The leaderboard of a track; None if it has no column."""
    names = short_names(results)
    ceiling, numbers = _numbers(results, track)
    columns = _score_columns(results, numbers) if ceiling else _return_columns(names, numbers)
    if not columns:
        return None
    rows = sorted(_rows(results, columns, numbers), key=lambda row: row.order)
    if ceiling:
        rows = [row for row in rows if row.method not in ("random", *ceiling.split(" or "))]
    learned = [row for row in rows if not row.about["exact"]]
    references = [row for row in rows if row.about["exact"]]
    if learned:
        references = [row for row in references if row.method in _REFERENCES]
    episodes = [results.episodes(key) for key in numbers]
    scored = {key.family for key in numbers}
    played = {key.family for key in results.about if key.track == track}
    return Board(
        track=track,
        episodes=(min(episodes), max(episodes)),
        ceiling=ceiling,
        families={family: name for family, name in names.items() if family in scored},
        unscored=[name for family, name in names.items() if family in played - scored],
        columns=columns,
        learned=learned,
        references=references,
    )


def _numbers(results: Results, track: str) -> tuple[str, dict[Key, Interval]]:
    """The reference whose score is 1, and all scores on a track; if only the bounds have scores: no name, and all
    returns."""

    def of(metric: Callable[[str], str]) -> dict[Key, Interval]:
        keys = (key for key in results.about if key.track == track)
        found = {key: results.number(key, metric(key.family)) for key in keys}
        return {key: interval for key, interval in found.items() if interval}

    scores = of(lambda family: f"score_{results.ceiling_of(family)}")
    if {key.method for key in scores} - {"random", *results.ceiling.split(" or ")}:
        return results.ceiling, scores
    return "", of(lambda _family: Key("", "", "", track).scored)


def _score_columns(results: Results, numbers: Mapping[Key, Interval]) -> list[Column]:
    """``id``, then each axis at its strongest level, those of most families first."""
    levels: dict[str, int] = {}
    for about in (results.about[key] for key in numbers):
        if axis := about["axis"]:
            levels[axis] = max(about["level"], levels.get(axis, 0))
    splits: dict[str, dict[str, str]] = {}
    for key in numbers:
        axis, level = results.about[key]["axis"], results.about[key]["level"]
        if level == levels[axis] if axis else key.split == "id":
            splits.setdefault(axis or "id", {})[key.family] = key.split
    columns = [Column(name, levels.get(name), by_family) for name, by_family in splits.items()]
    return sorted(columns, key=lambda c: (c.name != "id", -len(c.splits), c.name))


def _return_columns(names: Mapping[str, str], numbers: Mapping[Key, Interval]) -> list[Column]:
    """``id`` of each family by itself: returns of different families have no mean."""
    families = dict.fromkeys(key.family for key in numbers if key.split == "id")
    return [Column(names[family], None, {family: "id"}) for family in families]


def _rows(
    results: Results, columns: list[Column], numbers: Mapping[Key, Interval]
) -> Iterator[Row]:
    """A row for each method."""
    ranks = _ranks({key: x for key, x in numbers.items() if not results.about[key]["exact"]})
    for method in {key.method for key in numbers}:
        keys = [key for key in numbers if key.method == method]
        cells = [_cell(column, {key: numbers[key] for key in keys}) for column in columns]
        exact = {results.about[key]["exact"] for key in keys}
        about = results.about[keys[0]] | {"exact": exact.pop() if len(exact) == 1 else "near"}
        seeds: dict[str, int] = {}
        for key in keys:
            fewest = seeds.get(key.family, math.inf)
            seeds[key.family] = int(min(fewest, results.about[key]["seeds"]))
        yield Row(method, about, seeds, cells, ranks.get(method, {}))


def _cell(column: Column, numbers: Mapping[Key, Interval]) -> Cell:
    """The numbers of a method in a column."""
    found = {k.family: x for k, x in numbers.items() if column.splits.get(k.family) == k.split}
    return Cell(found, len(found) == len(column.splits))


def _ranks(numbers: Mapping[Key, Interval]) -> dict[str, dict[str, int]]:
    """Each method's place on ``id`` of each family, 1 for the highest mean; equal means share a place."""
    ranks: dict[str, dict[str, int]] = {}
    on_id = {key: interval.mean for key, interval in numbers.items() if key.split == "id"}
    for key, mean in on_id.items():
        better = [k for k, other in on_id.items() if k.family == key.family and other > mean]
        ranks.setdefault(key.method, {})[key.family] = 1 + len(better)
    return ranks


def short_names(results: Results) -> dict[str, str]:
    """Return each family's name without its parameters, unless two would be called alike."""
    names = {family: make_family(family).title for family in results.families}
    alike = list(names.values())
    return {f: name if alike.count(name) == 1 else f for f, name in names.items()}


def still_learning(results: Results) -> dict[str, str]:
    """Return a note for each method that was still learning when its training ended: on which families."""
    found: dict[str, list[str]] = {}
    for family, name in short_names(results).items():
        for method in sorted(results.undertrained(family)):
            found.setdefault(method, []).append(name)
    return {method: f"undertrained on {', '.join(names)}" for method, names in found.items()}
