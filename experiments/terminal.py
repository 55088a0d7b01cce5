"""The console that everything for people is printed on: names as they are, whatever markup they hold; lines that fit.

A line that is too long for a terminal is cut; elsewhere (pipes, files) it is whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console(*, stderr: bool = False) -> Console:
    """A console on which brackets and colons in a name mean nothing."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def print_line(out: Console, text: str, style: str = "") -> None:
    """Print one line; on a terminal that is narrower, its beginning and an ellipsis."""
    from rich.cells import cell_len, set_cell_size

    if out.is_terminal and cell_len(text) > out.width:
        ellipsis = "..." if out.options.ascii_only else "…"
        text = set_cell_size(text, max(0, out.width - len(ellipsis))) + ellipsis
    out.print(text, style=style or None, soft_wrap=True)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row; the cells of a column begin at the same place."""
    from rich.cells import cell_len

    cells = itertools.zip_longest(*rows, fillvalue="")
    widths = [max(map(cell_len, column)) for column in cells]
    return [
        "  ".join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=False)
        ).rstrip()
        for row in rows
    ]


def facts(named: Iterable[tuple[str, Any]]) -> Table:
    """Return a table with a row for each value that is not empty, after its name."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in named:
        if printed := text(value):
            table.add_row(name, printed)
    return table


def text(value: Any) -> str:
    """Return a value of JSON as people read it."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key} {text(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        parts = [text(each) for each in value]
        return ("; " if any("," in part for part in parts) else ", ").join(parts)
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
