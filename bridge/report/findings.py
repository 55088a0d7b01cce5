"""Findings in sentences, computed from rows: the best method, the largest fall, and gradient steps against context.

Numbers have 95% intervals, and differences are paired by task and noise. What is chosen from many (a best method, a
largest fall) is flattered by the trials that chose it, so sentences state from how many.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from math import hypot
from typing import NamedTuple

from bridge.evaluation.stats import Interval, averaged
from bridge.report.leaderboard import Board, Column, Row
from bridge.report.reading import Key
from bridge.report.summary import Results
from bridge.report.tables import number
from bridge.words import counted

_BY_CHANCE = 0.025
"""The share of splits on which an interval lies above 0 if there is no difference."""
_NAMED = 3
"""The most names that a sentence lists."""


class Pair(NamedTuple):
    """Two methods on one split, and the score of the first less that of the second."""

    family: str
    split: str
    method: str
    other: str
    lead: Interval


class Fall(NamedTuple):
    """A method's scores on ``id`` and under a shift, means over the families that have the shift's column."""

    row: Row
    column: Column
    before: Interval
    after: Interval

    @property
    def mean(self) -> float:
        """The fall; negative if the method scores more under the shift."""
        return self.before.mean - self.after.mean

    @property
    def low(self) -> float:
        """The lower end of its interval, as if the two scores were independent."""
        return self.mean - hypot(self.before.half, self.after.half)


def findings(results: Results, board: Board) -> list[str]:
    """What a leaderboard shows, in three paragraphs at most; those that its rows cannot answer are left out."""
    if not board.learned:
        return []
    if not board.ceiling:
        return [
            "There are no findings without scores. They need random, oracle and enough trials; where nobody knows the "
            "optimum, specialists in place of the oracle (docs/gymnasium.md)."
        ]
    if board.columns[0].name != "id":
        return ["There are no findings without id: play it beside the shifted splits."]
    said = (
        _best(results, board),
        _fall(board),
        " ".join(_overtaking(results, board) + _adding(results, board)),
    )
    return [paragraph for paragraph in said if paragraph]


# --- the best and the worst ----------------------------------------------------------------------------------------


def _best(results: Results, board: Board) -> str:
    """The best learned method on ``id``, its lead over the second, and the methods over which its lead is not clear."""
    rows = [row for row in board.learned if row.cells[0].complete]
    if not rows:
        return f"Best in distribution: none, as no learned method plays {_families(board, board.families)}."
    best, scores = rows[0].method, rows[0].cells[0]
    said = f"Best of {len(rows)} in distribution" if len(rows) > 1 else "In distribution"
    said += f": {best}, whose score on id is {number(scores.mean)} "
    said += f"({_families(board, scores.by_family)})"
    leads: dict[str, Interval | None] = {}
    for row in rows[1:]:
        known = [_lead(results, board, f, "id", best, row.method) for f in scores.by_family]
        leads[row.method] = averaged([lead for lead in known if lead]) if all(known) else None
    for second, lead in list(leads.items())[:1]:
        said += f", {number(lead)} ahead of {second}" if lead else f", ahead of {second}"
    if unclear := [method for method, lead in leads.items() if not (lead and lead.low > 0)]:
        said += f"; its lead over {_some(unclear)} is not clear of 0"
    return f"{said}."


def _fall(board: Board) -> str:
    """The learned method that falls most from ``id`` to an axis at its strongest level; clear falls first."""
    changes = []
    for place, column in enumerate(board.columns[1:], 1):
        for row in board.learned:
            home, there = row.cells[0].by_family, row.cells[place]
            if there.complete and column.splits.keys() <= home.keys():
                before = averaged([home[family] for family in column.splits])
                changes.append(Fall(row, column, before, averaged(list(there.by_family.values()))))
    if not changes:
        return ""
    pairs = f"of {len(changes)} pairs of method and axis"
    largest = max(changes, key=lambda fall: fall.mean)
    if largest.mean <= 0:
        return f"No fall: {pairs}, none has a lower score than on id."
    said = f"Largest fall, {pairs}, none of which is clear of 0"
    if clear := [fall for fall in changes if fall.low > 0]:
        said = f"Largest fall{' that is clear of 0' * (largest not in clear)}, {pairs}"
        largest = max(clear, key=lambda fall: fall.mean)
    row, column, before, after = largest
    return (
        f"{said}: {row.method} under {next(iter(column.splits.values()))}, from {number(before)} on id to "
        f"{number(after)} ({_families(board, column.splits)})."
    )


# --- gradient steps against context --------------------------------------------------------------------------------


def _overtaking(results: Results, board: Board) -> list[str]:
    """On how many splits gradient steps alone beat reading the context, by the method of each kind that is best on
    ``id`` of a family."""
    pairs = []
    for family in board.families:
        gradient, context = (_best_of(board, family, way) for way in ("gradient", "context"))
        if gradient and context:
            pairs += _pairs(results, board, family, gradient, context)
    if not pairs:
        return []
    ahead, behind = _clear(pairs)
    gradient = f"Gradient steps alone ({_some(pair.method for pair in pairs)})"
    context = f"reading the context ({_some(pair.other for pair in pairs)})"
    where = f"{counted(len(pairs), 'split')} of {_families(board, dict.fromkeys(p.family for p in pairs))}"
    said = [
        f"{gradient} {'overtake' if ahead else 'nowhere overtake'} {context}, each the best of its kind on id of a "
        f"family: ahead on {len(ahead)} of {where}, behind on {len(behind)} (intervals clear of 0; "
        f"{_BY_CHANCE * len(pairs):.1f} would be ahead by chance)."
    ]
    return said + ([f"Most clearly {_clearest(board, ahead)}."] if ahead else [])


def _adding(results: Results, board: Board) -> list[str]:
    """On how many splits gradient steps help methods that read their context, each against itself without them."""
    pairs = []
    for row in board.learned:
        for family in board.families:
            if base := _base(results, board, family, row):
                pairs += _pairs(results, board, family, row.method, base)
    if not pairs:
        return []
    ahead, behind = _clear(pairs)
    whose = _some(f"{pair.method} less {pair.other}" for pair in pairs)
    most = f", most clearly {_clearest(board, ahead)}" if ahead else ""
    return [
        f"Gradient steps on top of the context ({whose}) help on {len(ahead)} of {counted(len(pairs), 'split')} and "
        f"harm on {len(behind)}{most}."
    ]


def _best_of(board: Board, family: str, adapts: str) -> str | None:
    """The learned method with the highest score on ``id`` of a family, of those whose ``adapts`` this is."""
    scores = {
        row.method: row.cells[0].by_family[family].mean
        for row in board.learned
        if row.about["adapts"] == adapts and family in row.cells[0].by_family
    }
    return max(scores, key=scores.__getitem__) if scores else None


def _base(results: Results, board: Board, family: str, row: Row) -> str | None:
    """The method that is ``row`` without its gradient steps: the run that its name holds (``run=RUN``), or the end of
    its name (``lora_reward_icl_rl``). A run that was trained on the family for longer or shorter is another one."""
    if row.about["adapts"] != "context, gradient":
        return None
    name, _, parameters = row.method.partition(":")
    trained = {
        key.method: about["train_env_steps"]
        for key, about in results.about.items()
        if (key.family, key.track) == (family, board.track)
    }
    found = [
        other.method
        for other in board.learned
        if other.about["adapts"] == "context" and other.method in trained
        if f"run={other.method}" in parameters.split(",")
        or name.endswith(f"_{other.method.rpartition(':')[2]}")
    ]
    steps = trained.get(row.method)
    alike = [method for method in found if trained[method] == steps]
    unknown = [method for method in found if not (trained[method] and steps)]
    return next(iter([*alike, *unknown]), None)


def _pairs(results: Results, board: Board, family: str, method: str, other: str) -> Iterator[Pair]:
    """Two methods on every split on which both have a score."""
    for split in results.splits(family, board.track):
        if lead := _lead(results, board, family, split, method, other):
            yield Pair(family, split, method, other, lead)


def _lead(
    results: Results, board: Board, family: str, split: str, method: str, other: str
) -> Interval | None:
    """The score of a method less that of another one; None if one of them has none."""
    key = Key(family, split, method, board.track)
    return results.score_difference(key, other)


def _clear(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Pairs whose first is ahead, and pairs whose first is behind, with intervals clear of 0."""
    return [p for p in pairs if p.lead.low > 0], [p for p in pairs if p.lead.high < 0]


def _clearest(board: Board, pairs: Iterable[Pair]) -> str:
    """The pair whose lead is largest in units of its interval, in words."""
    pair = max(pairs, key=lambda pair: pair.lead.mean / max(pair.lead.half, 1e-9))
    return f"on {board.families[pair.family]}, {pair.split}: {pair.method} is {number(pair.lead)} ahead of {pair.other}"


def _families(board: Board, some: Collection[str]) -> str:
    """Two families by name, more by their number."""
    names = [board.families[family] for family in some]
    return f"{len(names)} families" if len(names) > 2 else " and ".join(names)


def _some(methods: Iterable[str]) -> str:
    """The first methods by name, and the number of the others."""
    names = list(dict.fromkeys(methods))
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join(names[:_NAMED] + more)
