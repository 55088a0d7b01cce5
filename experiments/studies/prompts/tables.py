"""Tables of the study, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bridge.files import write_text
from bridge.report import escape
from bridge.tasks import family as make_family
from experiments.studies.markdown import number, table
from experiments.studies.prompts.cells import BANDIT, FEW_SHOT, FORMAT, MODEL, TRAINED, Part
from experiments.studies.prompts.measures import Measures, estimate, less, median

_HEADS = ("regret", "SuffFail", "K·MinFrac", "GreedyFrac", "median")
Found = dict[Part, Measures]


def show(found: Found) -> None:
    """Print all tables."""
    for split in _columns(found, "methods"):
        print(f"\n**{BANDIT}, {split}** · prompts in format {FORMAT}\n")
        print(_explored(found, "methods", split))
    for family in _columns(found, "instances"):
        print(f"\n**{family}, id**\n")
        print(_explored(found, "instances", family))
    print(f"\n**{BANDIT}, id** · regret by prompt format\n")
    print(_formats(found))
    print("\nOver formats, and over units of rewards for methods that read numbers\n")
    print(_spreads(found))


def _columns(found: Found, name: str) -> list[str]:
    return list(dict.fromkeys(part.column for part in found if part.table == name))


def _explored(found: Found, name: str, column: str) -> str:
    """A line for each method: regret and the measures of exploration."""
    rows = []
    for part, measures in found.items():
        if (part.table, part.column) != (name, column):
            continue
        means = [estimate(values) for values in measures[:4]]
        shown = [number(means[0]), *(f"{mean.mean:.2f}" for mean in means[1:])]
        seeds, trials = measures.regret.shape
        shown_name = escape.markdown(_short(part.method))
        rows.append((shown_name, seeds, trials, *shown, f"{median(measures.reward):.2f}"))
    return table(("method", "seeds", "n", *_HEADS), rows, texts=1)


def _formats(found: Found) -> str:
    """A line for each format: regret of the model as it is, and what training and gradient steps change."""
    rows = []
    for format in _formats_of(found):
        frozen = found[_place(MODEL, format)]
        row = [format, number(estimate(frozen.regret))]
        for method in (TRAINED, FEW_SHOT):
            other = found.get(_place(method, format))
            found_less = less(other, frozen) if other else None
            row.append(f"{number(found_less)} ({found_less.n})" if found_less else "")
        rows.append(row)
    heads = ("format", "as it is", "meta-trained less (n)", "few-shot less (n)")
    return table(heads, rows, texts=1)


def _formats_of(found: Found) -> list[str]:
    first = [FORMAT] if Part("methods", MODEL, "id") in found else []
    return list(dict.fromkeys([*first, *_columns(found, "formats")]))


def _place(method: str, format: str) -> Part:
    """The place of a model's cell in a format; the tables of methods and of formats share one cell."""
    return Part("methods", method, "id") if format == FORMAT else Part("formats", method, format)


def spreads(found: Found) -> Iterator[tuple[str, str, list[float]]]:
    """Return each method with what is varied, and its mean regret in each variant.

    All variants have the first trials of a split; methods with gradient steps on a language model play fewer of them.
    Regret under another unit of rewards is in that unit; it is divided by it.
    """
    for method in (MODEL, TRAINED, FEW_SHOT):
        parts = [_place(method, format) for format in _formats_of(found)]
        regrets = [found[part].regret.mean() for part in parts if part in found]
        if regrets:
            yield method, "formats", regrets
    for method in dict.fromkeys(part.method for part in found if part.table == "scales"):
        parts = [part for part in found if (part.table, part.method) == ("scales", method)]
        parts.append(Part("methods", method, "id"))
        yield method, "units", [_in_units(found[part], part.column) for part in parts]


def _in_units(measures: Measures, split: str) -> float:
    family = make_family(BANDIT)
    return float(measures.regret.mean()) / family.value(family.split(split), "reward_scale", 1.0)


def _spreads(found: Found) -> str:
    """A line for each method: the least, the median and the greatest of its mean regrets."""
    rows = [
        (escape.markdown(_short(method)), varied, len(regrets), *_quantiles(regrets))
        for method, varied, regrets in spreads(found)
    ]
    return table(("method", "over", "n", "least", "median", "most"), rows, texts=2)


def _quantiles(regrets: Sequence[float]) -> list[str]:
    return [f"{value:.2f}" for value in (min(regrets), np.median(regrets), max(regrets))]


def _short(method: str) -> str:
    return method.partition(":format")[0]


def write(found: Found, path: Path) -> None:
    """Write every mean with its interval as CSV."""
    with io.StringIO(newline="") as file:
        out = csv.writer(file)
        out.writerow(("table", "method", "column", "measure", "n", "mean", "low", "high"))
        for part, measures in found.items():
            names = [escape.comma_separated(name) for name in part]
            for measure, values in measures._asdict().items():
                mean = estimate(values)
                numbers = (f"{x:.6g}" for x in (mean.mean, mean.low, mean.high))
                out.writerow((*names, measure, mean.n, *numbers))
        write_text(path, file.getvalue())
