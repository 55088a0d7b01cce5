"""The tables of the study, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from bridge.evaluation.stats import Interval
from bridge.files import write_text
from experiments.studies.concerns.mitigations import PLAIN, SPECIALISTS
from experiments.studies.concerns.scores import Entry, Results
from experiments.studies.concerns.testbeds import Testbed
from experiments.studies.markdown import number, table

_ABOUT = ("testbed", "dial", "mitigation", "concern", "configuration", "seeds")
_SCORE = ("score", "low", "high")


def text(results: Results) -> str:
    """Return both tables with what they mean."""
    return (
        "\nScore of a trial, mean over tasks: 0 random, 1 oracle; ± half of a 95% interval over training seeds, for "
        "these tasks.\n\n"
        f"**Does each testbed show its concern?** Plain training less specialists; + is better\n\n{_dials(results)}\n\n"
        f"**What relieves it?** What each adds to plain training at the top of the dial; + is better\n\n"
        f"{_gains(results)}\n\nTime: of a gradient step, as a multiple of plain training's.\n"
    )


def _dials(results: Results) -> str:
    heads = (
        "testbed",
        "concern",
        "dial",
        "value",
        "plain",
        "specialists",
        "plain less specialists (+)",
    )
    rows = []
    for testbed in _testbeds(results):
        for value in (testbed.bottom, testbed.top):
            plain, bound = (Entry(testbed, value, row) for row in (PLAIN, SPECIALISTS))
            numbers = (results.score(plain), results.score(bound), results.gain(plain, bound))
            rows.append((testbed.name, testbed.concern, testbed.dial, value, *map(number, numbers)))
    return table(heads, rows, texts=3)


def _gains(results: Results) -> str:
    testbeds = _testbeds(results)
    rows = {entry.row.name: entry.row for entry in results.entries if entry.row is not PLAIN}
    heads = ["mitigation", "for"]
    for testbed in testbeds:
        heads += [f"on {testbed.name} (+)", "time"]
    lines = []
    for row in rows.values():
        line = [row.name, row.concern]
        for testbed in testbeds:
            line += _gain(results, testbed, row.name)
        lines.append(line)
    return table(heads, lines, texts=2)


def _gain(results: Results, testbed: Testbed, name: str) -> tuple[str, str]:
    """What a mitigation adds on a testbed, and its time; dashes where it makes no sense."""
    plain = Entry(testbed, testbed.top, PLAIN)
    key = (testbed.name, testbed.top, name)
    if key not in results.found:
        return "-", "-"
    entry = next(entry for entry in results.entries if entry.key == key)
    seconds = results.found[key].seconds / results.found[plain.key].seconds
    return number(results.gain(entry, plain)), f"{seconds:.1f}"


def _testbeds(results: Results) -> tuple[Testbed, ...]:
    return tuple({entry.testbed.name: entry.testbed for entry in results.entries}.values())


def write(results: Results, folder: Path) -> None:
    """Write ``concerns.csv``, a line for each entry, and ``tasks.csv``, a line for each entry and task."""
    lines, by_task = [], []
    for entry in results.entries:
        found = results.found[entry.key]
        about = (entry.testbed.name, entry.value, entry.row.name, entry.row.concern)
        trained = (f"{found.tuned:g}", len(found.score))
        score = _numbers(results.score(entry))
        lines.append((*about, *trained, *score, f"{found.seconds:.6g}"))
        by_task += [
            (*about, *trained, task, *_numbers(score))
            for task, score in enumerate(results.by_task(entry))
        ]
    _write(folder / "concerns.csv", (*_ABOUT, *_SCORE, "seconds_a_step"), lines)
    _write(folder / "tasks.csv", (*_ABOUT, "task", *_SCORE), by_task)


def _numbers(found: Interval) -> tuple[str, ...]:
    return tuple(f"{x:.6g}" for x in (found.mean, found.low, found.high))


def _write(path: Path, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with io.StringIO(newline="") as file:
        csv.writer(file).writerows([heads, *rows])
        write_text(path, file.getvalue())
