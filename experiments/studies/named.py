"""Numbers of a study by name, and their CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path

from bridge.errors import UserError
from bridge.evaluation.stats import Interval
from bridge.report import escape

Named = Mapping[tuple[str, ...], Interval]
"""Numbers by the parts of their names, one for each column."""
_NUMBERS = ("n", "mean", "low", "high")


def comma_separated(columns: Sequence[str], numbers: Named) -> str:
    """Return a line for each number that is one: its name in ``columns``, ``n``, ``mean``, ``low`` and ``high``."""
    with io.StringIO(newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow((*columns, *_NUMBERS))
        for name, found in numbers.items():
            if not isnan(found.mean):
                values = (f"{value:.6g}" for value in found[:3])
                out.writerow((*map(escape.comma_separated, name), found.n, *values))
        return file.getvalue()


def read(path: Path) -> Named:
    """Return the numbers in a CSV of ``comma_separated``.

    Raises:
        UserError: it is damaged.
    """
    found: dict[tuple[str, ...], Interval] = {}
    with path.open(encoding="utf-8", newline="") as file:
        try:
            for row in csv.DictReader(file, strict=True):
                n, *ends = (row.pop(column) for column in _NUMBERS)
                found[tuple(row.values())] = Interval(*map(float, ends), int(n), "read")
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise UserError(
                f"{path} holds no numbers of a study ({error}). Remove it, and run its study again."
            ) from None
    return found
