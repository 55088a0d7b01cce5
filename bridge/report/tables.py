"""The side-by-side tables, in three dresses: terminal (rich), Markdown and CSV, all from the same lines."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bridge.evaluation.stats import Interval
from bridge.report import escape
from bridge.report.summary import Key, Line, Results

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = {
    "trial_return": "return ↑",
    "score_oracle": "oracle=1 ↑",
    "score_bayes": "Bayes=1 ↑",
    "minus_bayes": "−Bayes ↑",
    "regret": "regret ↓",
    "success": "success ↑",
    "score_oracle_train_tasks": "oracle=1, training tasks ↑",
    "score_oracle_new_tasks": "oracle=1, new tasks ↑",
}
"""The columns of the table that people read; the CSV has every metric."""
NARROW = ("trial_return", "score_oracle", "score_bayes", "minus_bayes")
"""Those that fit a terminal of 80 columns."""
_NAMED = 4
"""Splits named where steps were refused on many."""
_MARKS = {"exact": "=", "near": "≈"}
_LETTERS = {
    "task": "T",
    "id": "I",
    "text": "W",
    "prior": "p",
    "reward": "r",
    "histories": "h",
    "optimal_actions": "a",
}
LEGEND = (
    "± is half of a 95% interval; = exact reference, ≈ near. Told: T the task, I its number, W its words, "
    "p the task distribution; trained on: "
    "r reward (rt: with the task in the critic), h histories, a optimal actions."
)


def number(interval: Interval | None) -> str:
    """``6.66 ±0.01``: a mean and half of its 95% interval, to two digits of that and four of the mean at most."""
    if interval is None:
        return "–"
    half = (interval.high - interval.low) / 2
    if math.isnan(half):
        return f"{interval.mean:.4g} (n=1)"
    size = max(1.0, abs(interval.mean))
    if half <= 1e-6 * size:
        return f"{interval.mean:.4g}"
    digits = max(0, min(3 - math.floor(math.log10(size)), 1 - math.floor(math.log10(half))))
    return f"{interval.mean:.{digits}f} ±{half:.{digits}f}"


def grid(
    results: Results, family: str, split: str, *, wide: bool = True
) -> tuple[list[str], list[list[str]]]:
    """Heading and cells of one split's table, methods in order of trial return; ``wide`` has every column."""
    by_method: dict[str, dict[str, Interval]] = {}
    for line in results.lines(family, split):
        by_method.setdefault(line.key.method, {})[line.metric] = line.interval
    shown = [
        metric
        for metric in (HEADINGS if wide else NARROW)
        if any(metric in numbers for numbers in by_method.values())
    ]
    order = sorted(
        by_method,
        key=lambda method: (
            -numbers.mean if (numbers := by_method[method].get("trial_return")) else math.inf
        ),
    )
    several = wide and any(about["seeds"] > 1 for about in results.about.values())
    rows = []
    for method in order:
        about = results.about[Key(family, split, method)]
        marks = ", ".join(filter(None, (about["exact"], _told(about)))) if wide else _mark(about)
        seeds = [str(about["seeds"])] if several else []
        rows.append(
            [method, *(number(by_method[method].get(metric)) for metric in shown), *seeds, marks]
        )
    return [
        "method",
        *(HEADINGS[m] for m in shown),
        *(["seeds"] if several else []),
        "kind, told" if wide else "",
    ], rows


def _told(about: dict) -> str:
    clue = {"task": "task", "id": "task id", "text": "text"}.get(about["clue"], "")
    return clue or {"none": ""}.get(about["supervision"], about["supervision"])


def _mark(about: dict) -> str:
    """``=p``: kind and what the method was told or trained on, in two letters at most."""
    first, _, also = about["supervision"].partition(", ")
    letter = _LETTERS.get(about["clue"]) or _LETTERS.get(first, "") + ("t" if also else "")
    return _MARKS.get(about["exact"], "") + letter


def title(results: Results, family: str, split: str) -> str:
    """``gridnavi · shift/slip/3 (slip = 0.2) · n = 20,000 trials``, the unavoidable harm of the shift, and how many of
    the tasks are training tasks."""
    key, about = next(
        (k, a) for k, a in results.about.items() if (k.family, k.split) == (family, split)
    )
    sums = results.sums(key, "episode_return")
    parts = [family, split + (f" ({about['axis']} = {about['value']:g})" if about["axis"] else "")]
    parts += [f"n = {sums.trials:,} trials"] if sums else []
    harm = results.delta_prior(family, split) if about["axis"] else None
    parts += [f"Δ_prior = {number(harm)}"] if harm is not None else []
    known = known_tasks(results, key)
    return " · ".join(parts + ([known] if known else []))


def known_tasks(results: Results, key: Key) -> str:
    """``8 of 21 tasks are training tasks``; empty on ``train`` itself and for a split whose tasks are all new."""
    overlap = results.overlap(key)
    if overlap is None or not overlap.share or key.split == "train":
        return ""
    if overlap.single:
        return f"{int(overlap.known.sum())} of {len(overlap.known)} tasks are training tasks"
    return f"{overlap.share:.0%} of the trials play training tasks"


def terminal(results: Results, family: str, split: str, *, wide: bool = False) -> Table:
    """The table for a terminal; all columns if ``wide``, else those that fit 80 characters."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    heading, rows = grid(results, family, split, wide=wide)
    table = Table(
        title=escape.terminal(title(results, family, split), "bold"),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for i, name in enumerate(heading):
        table.add_column(
            name, justify="left" if i in (0, len(heading) - 1) else "right", no_wrap=True
        )
    for row in rows:
        table.add_row(*map(escape.terminal, row))
    return table


def refusals(lines: Iterable[Line]) -> list[str]:
    """``maml on point_nav: gradient steps refused at test, as no number or too long: 14 of 60,000 on id.`` A sentence
    for each method on a family that had any; of many splits those with most are named."""
    by_method: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for line in lines:
        if line.metric == "refused_steps":
            key, share, due = line.key, line.interval.mean, line.interval.n
            counted = f"{round(share * due):,} of {due:,} on {key.split}"
            by_method.setdefault((key.method, key.family), []).append((share, counted))
    said = []
    for (method, family), splits in by_method.items():
        worst = [counted for _, counted in sorted(splits, key=lambda pair: -pair[0])]
        worst[_NAMED:] = (
            [f"some on {len(worst) - _NAMED} more splits"] if len(worst) > _NAMED else []
        )
        counts = ", ".join(worst)
        said.append(
            f"{method} on {family}: gradient steps refused at test, as no number or too long: {counts}."
        )
    return said


def skewed(lines: Iterable[Line]) -> list[str]:
    """``rl2 on gridnavi: the returns of 5 seeds are skewed on id; ...`` A sentence for each method on a family whose
    intervals may cover less than they say."""
    by_method: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if line.metric == "seed_skewness":
            by_method.setdefault((line.key.method, line.key.family), []).append(line)
    said = []
    for (method, family), found in by_method.items():
        splits = [line.key.split for line in found]
        splits[_NAMED:] = [f"{len(splits) - _NAMED} more splits"] if len(splits) > _NAMED else []
        said.append(
            f"{method} on {family}: the returns of {found[0].interval.n} seeds are skewed on {', '.join(splits)}; so "
            "few seeds may have 95% intervals that hold the truth much less often (docs/statistics.md). Train more."
        )
    return said


def markdown(results: Results) -> str:
    """Every table of a results folder as one Markdown page."""
    parts = [
        "# Results\n",
        "Means with 95% intervals (±). For references (one seed) an interval speaks of trials, or of ten parts of them "
        "where tasks are a finite list; for learned methods it is a t interval over training seeds below 10 seeds, "
        "else a crossed bootstrap over seeds and tasks. A score is a ratio of means over the split: 0 is random play. "
        "Differences to Bayes are taken task by task under the same noise; Δ_prior is what the training prior costs: "
        "the score of `bayes` less that of `bayes_train`, oracle = 1, where both are exact. The last checkpoint of a "
        "run counts; configurations are chosen on `id_val`.\n",
    ]
    for family in results.families:
        for split in results.splits(family):
            heading, rows = grid(results, family, split)
            parts.append(f"\n## {escape.markdown(title(results, family, split))}\n")
            parts.append("| " + " | ".join(heading) + " |")
            parts.append(
                "|"
                + "|".join(
                    "---" if i in (0, len(heading) - 1) else "---:" for i in range(len(heading))
                )
                + "|"
            )
            parts.extend("| " + " | ".join(map(escape.markdown, row)) + " |" for row in rows)
            lines = list(results.lines(family, split))
            parts.extend(
                f"\n{escape.markdown(line)}" for line in (*refusals(lines), *skewed(lines))
            )
    return "\n".join(parts) + "\n"


def comma_separated(lines: Iterable[Line]) -> str:
    """Every number as one CSV: a line each, with its interval, its kind and its n.

    A name that a spreadsheet would take for a formula (``=1+1``) has an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "family",
            "split",
            "method",
            "track",
            "metric",
            "mean",
            "low",
            "high",
            "interval",
            "n",
            "seeds",
            "trials",
        ]
    )
    for line in lines:
        mean, low, high, n, kind, _ = line.interval
        names = map(escape.comma_separated, (*line.key, line.metric))
        writer.writerow(
            [*names, *(repr(float(x)) for x in (mean, low, high)), kind, n, line.seeds, line.trials]
        )
    return out.getvalue()
