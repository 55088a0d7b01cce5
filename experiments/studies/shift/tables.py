"""Tables of the study: scores by level of each axis, and what the fall at its last level is made of."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from bridge.evaluation.stats import Interval
from bridge.report import escape
from bridge.report.falls import fall, works_at
from bridge.report.summary import Key, Results
from bridge.tasks import family as make_family
from bridge.tasks.base import CONTEXT_AXES
from experiments.studies.markdown import table

LEARNERS = {
    "bayes_train": "the training distribution",
    "bayes_tasks": "the training tasks alone",
}
"""Exact learners of training, and what they know."""
_PARTS = ("fall", "tasks", "prior", "method")


def markdown(results: Results, family: str, axes: Sequence[str]) -> str:
    """The tables of some axes, as Markdown of at most 80 columns where names allow it."""
    blocks = [
        f"Scores on id and at each level: 0 random, 1 {results.ceiling_of(family)}. A method works at a level if it "
        "keeps half of its score on id, if that is clear of 0. A fall from id is made of harder tasks, the training "
        "prior, and the method itself.",
    ]
    played = _axes(results, family)
    for axis in sorted(played.keys() & set(axes)):
        splits = played[axis]
        track = "C" if axis in CONTEXT_AXES else "O"
        about, last = {**make_family(family).axes, **CONTEXT_AXES}[axis], max(splits.values())
        blocks += [
            f"**{family}, {axis}** ({about.unit})",
            _levels(results, family, track, splits),
        ]
        for learner, known in LEARNERS.items():
            if falls := _falls(results, family, track, last, learner):
                blocks += [f"Falls from id to {last}, beside a learner of {known}:", falls]
    return "\n\n".join(blocks) + "\n"


def _axes(results: Results, family: str) -> dict[str, dict[float, str]]:
    """The splits of each axis that was played, by value."""
    axes: dict[str, dict[float, str]] = {}
    for key, about in results.about.items():
        if key.family == family and about["axis"]:
            axes.setdefault(about["axis"], {})[about["value"]] = key.split
    return axes


def _levels(results: Results, family: str, track: str, splits: dict[float, str]) -> str:
    """A line for each method."""
    by_level = sorted(splits, key=splits.__getitem__)
    rows = []
    for method in results.methods(family, "id", track):
        key = Key(family, "id", method, track)
        before = results.score(key)
        if before is None or method in ("random", results.ceiling_of(family)):
            continue
        scores = [results.score(key._replace(split=splits[value])) for value in by_level]
        shown = (_short(score) for score in (before, *scores))
        works = _works(works_at(results, key, splits), splits) if any(scores) else ""
        rows.append((escape.markdown(method), *shown, works))
    heads = ("method", "id", *(f"{value:g}" for value in by_level), "works at")
    return table(heads, rows, texts=1)


def _works(kept: list[float] | None, splits: dict[float, str]) -> str:
    if kept is None:
        return ""
    if len(kept) in (0, len(splits)):
        return "all" if kept else "none"
    return ", ".join(f"{value:g}" for value in kept)


def _falls(results: Results, family: str, track: str, split: str, learner: str) -> str:
    """A line for each method; empty if the parts are not known."""
    rows = []
    for method in results.methods(family, split, track):
        found = fall(results, Key(family, split, method, track), learner)
        if (
            found is None
            or found.method is None
            or method in ("random", results.ceiling_of(family), "bayes")
        ):
            continue
        rows.append((escape.markdown(method), *map(_short, found)))
    return table(("method", *_PARTS), rows, texts=1) if rows else ""


def _short(found: Interval | None) -> str:
    """``0.83 ±.02``; empty for None."""
    if found is None:
        return ""
    return f"{found.mean:.2f} ±{found.half:.2f}".replace("±0.", "±.")


def comma_separated(results: Results, family: str) -> str:
    """Every score and every part of a fall with its interval, as CSV."""
    with io.StringIO(newline="") as file:
        out = csv.writer(file)
        out.writerow(
            ("axis", "value", "split", "method", "track", "measure", "n", "mean", "low", "high")
        )
        for axis, value, key, measure, found in _numbers(results, family):
            numbers = (f"{x:.6g}" for x in (found.mean, found.low, found.high))
            name = escape.comma_separated(key.method)
            out.writerow(
                (axis, f"{value:g}", key.split, name, key.track, measure, found.n, *numbers)
            )
        return file.getvalue()


def _numbers(results: Results, family: str) -> Iterator[tuple[str, float, Key, str, Interval]]:
    for key, about in results.about.items():
        if key.family != family:
            continue
        if score := results.score(key):
            yield about["axis"], about["value"], key, "score", score
        if not about["axis"]:
            continue
        for learner in LEARNERS:
            found = fall(results, key, learner)
            if found is None or (learner == "bayes_tasks" and found.prior is None):
                continue
            for part, number in zip(_PARTS, found, strict=True):
                if number is not None:
                    measure = part + " of tasks" * (learner == "bayes_tasks")
                    yield about["axis"], about["value"], key, measure, number
