"""Side-by-side tables of methods for the terminal (rich), as Markdown and as CSV, all from the same lines."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bridge.evaluation.stats import Interval
from bridge.report import escape
from bridge.report.summary import Key, Line, Results
from bridge.words import counted

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = {
    "return": "return ↑",
    "score_oracle": "oracle=1 ↑",
    "score_specialists": "specialists=1 ↑",
    "score_bayes": "Bayes=1 ↑",
    "minus_bayes": "−Bayes ↑",
    "regret": "regret ↓",
    "success": "success ↑",
    "score_oracle_train_tasks": "oracle=1, training tasks ↑",
    "score_oracle_new_tasks": "oracle=1, new tasks ↑",
}
"""Columns of the terminal and Markdown tables; the CSV has every metric."""
NARROW = ("return", "score_oracle", "score_specialists", "score_bayes", "minus_bayes")
"""Columns that fit a terminal of 80 characters."""
_NAMED = 4
"""The most splits that a note lists by name."""
_MARKS = {"exact": "=", "near": "≈"}
"""Marks for how exact a reference is."""
_CLUES = {"task": "task", "id": "task id", "text": "text"}
"""Clues about the task, as the wide table names them."""
_LETTERS = {
    "task": "T",
    "id": "I",
    "text": "W",
    "prior": "p",
    "reward": "r",
    "histories": "h",
    "optimal_actions": "a",
}
"""Marks for what a method is given or trained on."""
SPECIALISTS = (
    "Nobody knows the optimum of these tasks. A score of 1 is that of `specialists`: a policy for each test task, "
    "trained on that task alone. Others may earn more."
)
"""The meaning of scores without an oracle."""
LEGEND = (
    "± is half of a 95% interval; = exact reference, ≈ near-exact reference. Given at test: T the task, I its index, "
    "W a text, p the task distribution. Trained on: r rewards (rt: with the task in the critic), h histories, "
    "a optimal actions."
)
"""The meaning of the marks in the terminal tables."""


def number(interval: Interval | None) -> str:
    """A mean and half of its 95% interval: ``6.66 ±0.01``.

    Both are rounded to two significant digits of the half, or to four of the mean if that is coarser.
    """
    if interval is None:
        return "–"
    half = interval.half
    if math.isnan(half):
        return f"{interval.mean:.4g} (n=1)"
    size = max(1.0, abs(interval.mean))
    if half <= 1e-6 * size:
        return f"{interval.mean:.4g}"
    digits = max(0, min(3 - math.floor(math.log10(size)), 1 - math.floor(math.log10(half))))
    return f"{interval.mean:.{digits}f} ±{half:.{digits}f}"


def grid(
    results: Results, family: str, split: str, track: str = "O", *, wide: bool = True
) -> tuple[list[str], list[list[str]]]:
    """Heading and cells of one split's table, best trial return first; all columns if ``wide``, else ``NARROW``."""
    by_method: dict[str, dict[str, Interval]] = {}
    for line in results.lines(family, split, track):
        metric = "return" if line.metric == line.key.scored else line.metric
        by_method.setdefault(line.key.method, {})[metric] = line.interval
    measured = {metric for intervals in by_method.values() for metric in intervals}
    metrics = [metric for metric in (HEADINGS if wide else NARROW) if metric in measured]

    def worst_last(method: str) -> float:
        earned = by_method[method].get("return")
        return -earned.mean if earned else math.inf

    several = wide and any(about["seeds"] > 1 for about in results.about.values())
    heading = ["method", *(HEADINGS[metric] for metric in metrics)]
    heading += ["seeds"] if several else []
    heading += ["kind, given" if wide else ""]
    rows = []
    for method in sorted(by_method, key=worst_last):
        about = results.about[Key(family, split, method, track)]
        row = [method, *(number(by_method[method].get(metric)) for metric in metrics)]
        row += [str(about["seeds"])] if several else []
        row += [_kind_and_given(about) if wide else mark(about)]
        rows.append(row)
    return heading, rows


def _kind_and_given(about: dict) -> str:
    """``exact, task``: how exact a reference is, and what the method is given or trained on."""
    supervision = "" if about["supervision"] == "none" else about["supervision"]
    return ", ".join(filter(None, (about["exact"], _CLUES.get(about["clue"], supervision))))


def mark(about: dict) -> str:
    """``=p``: the same as ``_kind_and_given`` in three characters at most, explained by ``LEGEND``."""
    first, _, also = about["supervision"].partition(", ")
    letter = _LETTERS.get(about["clue"]) or _LETTERS.get(first, "") + ("t" if also else "")
    return _MARKS.get(about["exact"], "") + letter


def title(results: Results, family: str, split: str, track: str = "O") -> str:
    """A table's title: ``gridnavi · shift/slip/3 (slip = 0.2) · n = 20,000 trials``.

    It ends with the unavoidable harm of the shift (Δ_prior) and the share of training tasks, if they are known.
    """
    key, about = next(
        (k, a)
        for k, a in results.about.items()
        if (k.family, k.split, k.track) == (family, split, track)
    )
    sums = results.sums(key, "episode_return")
    parts = [family, split + (f" ({about['axis']} = {about['value']:g})" if about["axis"] else "")]
    parts += [f"n = {sums.trials:,} trials"] if sums else []
    parts += [] if track == "O" else [f"track {track}"]
    harm = results.delta_prior(family, split) if about["axis"] and track == "O" else None
    parts += [f"Δ_prior = {number(harm)}"] if harm is not None else []
    known = known_tasks(results, key)
    return " · ".join(parts + ([known] if known else []))


def known_tasks(results: Results, key: Key) -> str:
    """``8 of 21 tasks are training tasks``; empty on ``train`` itself and on splits whose tasks are all new."""
    overlap = results.overlap(key)
    if overlap is None or not overlap.share or key.split == "train":
        return ""
    if overlap.single:
        return f"{int(overlap.known.sum())} of {len(overlap.known)} tasks are training tasks"
    return f"{overlap.share:.0%} of the trials play training tasks"


def terminal(
    results: Results, family: str, split: str, track: str = "O", *, wide: bool = False
) -> Table:
    """A split's table for a terminal; all columns if ``wide``, else those that fit 80 characters."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    heading, rows = grid(results, family, split, track, wide=wide)
    table = Table(
        title=escape.terminal(title(results, family, split, track), "bold"),
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
    """A sentence for each method and family that had gradient steps refused; the splits with most are named.

    For example ``maml on point_nav: gradient steps refused at test, as no number or too long: 14 of 60,000 on id.``
    """
    sentences = []
    for (method, family), of_method in _by_method(lines, "refused_steps").items():
        counts = []
        for line in sorted(of_method, key=lambda line: -line.interval.mean):
            share, due = line.interval.mean, line.interval.n
            counts.append(f"{round(share * due):,} of {due:,} on {line.key.split}")
        sentences.append(
            f"{method} on {family}: gradient steps refused at test, as no number or too long: "
            f"{_some(counts, 'more split', 'some on ')}."
        )
    return sentences


def skewed(lines: Iterable[Line]) -> list[str]:
    """A sentence on the methods whose returns are skewed over seeds, so that intervals may be too short; none if none.

    For example ``Returns of few seeds are skewed: rl2 on gridnavi (5 seeds; id). Their 95% intervals may ...``. The
    first few are named, the others counted.
    """
    found = [
        f"{method} on {family} ({of_method[0].interval.n} seeds; "
        f"{_some([*dict.fromkeys(line.key.split for line in of_method)], 'more split')})"
        for (method, family), of_method in _by_method(lines, "seed_skewness").items()
    ]
    if not found:
        return []
    return [
        f"Returns of few seeds are skewed: {_some(found, 'more method')}. Their 95% intervals may hold the truth much "
        "less often (docs/statistics.md). Train more."
    ]


def _by_method(lines: Iterable[Line], metric: str) -> dict[tuple[str, str], list[Line]]:
    """The lines of one metric, by method and family."""
    found: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if line.metric == metric:
            found.setdefault((line.key.method, line.key.family), []).append(line)
    return found


def _some(names: list[str], more: str, before: str = "") -> str:
    """The first names, separated by commas, and the number of the others as ``more``, after ``before``."""
    others = len(names) - _NAMED
    return ", ".join(names[:_NAMED] + ([f"{before}{counted(others, more)}"] if others > 0 else []))


def markdown(results: Results) -> str:
    """Every table of a results folder as a section of a Markdown page."""
    parts = [
        "## All tables\n",
        "Means with 95% intervals (±). For references (one seed) an interval is over trials, or over ten parts of them "
        "if tasks are a finite list. For learned methods it is a t interval over training seeds below 10 seeds, "
        "else a crossed bootstrap over seeds and tasks. A score is a ratio of means over the split: 0 is random play. "
        "Differences to Bayes are taken task by task under the same noise. Δ_prior is the cost of the training prior: "
        "the score of `bayes` minus that of `bayes_train`, oracle = 1, if both are exact. Results are of the last "
        "checkpoint of a run; configurations are chosen on `id_val`.\n",
        *([f"{SPECIALISTS}\n"] if "specialists" in results.ceiling else []),
    ]
    for table in results.tables:
        heading, rows = grid(results, *table)
        parts.append(f"\n### {escape.markdown(title(results, *table))}\n")
        parts.append("| " + " | ".join(heading) + " |")
        parts.append("|" + "|".join(["---", *["---:"] * (len(heading) - 2), "---"]) + "|")
        parts.extend("| " + " | ".join(map(escape.markdown, row)) + " |" for row in rows)
        lines = list(results.lines(*table))
        parts.extend(f"\n{escape.markdown(line)}" for line in (*refusals(lines), *skewed(lines)))
    return "\n".join(parts) + "\n"


def comma_separated(lines: Iterable[Line]) -> str:
    """All numbers as CSV, one a line, each with its interval, the kind of that and n.

    Names that a spreadsheet would compute as a formula (``=1+1``) get an apostrophe before them.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    about = ("interval", "n", "seeds", "trials")
    writer.writerow([*Key._fields, "metric", "mean", "low", "high", *about])
    for line in lines:
        mean, low, high, n, kind = line.interval
        names = map(escape.comma_separated, (*line.key, line.metric))
        writer.writerow(
            [*names, *(repr(float(x)) for x in (mean, low, high)), kind, n, line.seeds, line.trials]
        )
    return out.getvalue()
