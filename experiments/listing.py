"""What there is, as plain objects with a ``name``: the answers of ``metabridge list``.

Families at their defaults and all methods stand in ``catalogue.json``; other variants are made, which takes torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bridge import config
from bridge.errors import UserError
from experiments.sizes import SIZES
from experiments.terminal import console

Entry = dict[str, Any]


def entries(what: str, families: tuple[str, ...]) -> list[Entry]:
    """The objects of one kind; splits and axes of ``families``, or of every family at its defaults.

    Raises:
        UserError: an unknown family, or ``families`` of something that has none.
    """
    if what == "experiments":
        if families:
            raise UserError(
                "--family is for families, methods, splits and axes; experiments name theirs. Leave it out."
            )
        return [
            {
                "name": f"compare --size {name}",
                "families": size.families,
                "methods": size.methods,
                "splits": size.splits,
            }
            for name, size in SIZES.items()
        ]
    if families:
        from experiments import catalogue

        return catalogue.entries(what, families)
    return json.loads(Path(__file__).with_name("catalogue.json").read_text(encoding="utf-8"))[what]


def show(found: list[Entry]) -> None:
    """The same as a table."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    columns = [
        key
        for key in (found[0] if found else {})
        if key not in ("hash", "name" if found and "id" in found[0] else "")
    ]
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "id"))
    for entry in found:
        table.add_row(*(_text(entry[column]) for column in columns))
    console().print(table)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return config.joined(value).replace(",", ", ")
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
