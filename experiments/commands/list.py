"""``metabridge list``: families, methods, splits, axes, experiments and the zoo, as plain objects with a ``name``.

Families at their defaults and our own methods stand in ``catalogue.json``; the others are computed, which takes torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from bridge import config, plugins
from bridge.config import split_list
from bridge.errors import UserError
from experiments import registry, zoo
from experiments.sizes import SIZES
from experiments.terminal import console

Entry = dict[str, Any]
_CATALOGUE = Path(__file__).parents[1] / "catalogue.json"


@dataclass(frozen=True, kw_only=True)
class List:
    """List families, methods, splits, axes, experiments or trained runs (zoo)."""

    what: Positional[Literal["families", "methods", "splits", "axes", "experiments", "zoo"]] = (
        "families"
    )
    family: tuple[str, ...] = ()
    """Only for these families, your own too: path/to/maze.py:Maze (default: each with its own defaults)."""
    json: bool = False
    """Print a JSON array of objects, each with a name."""

    def run(self) -> int:
        """Print the list."""
        found = entries(self.what, split_list(self.family))
        if self.json:
            print(json.dumps(found, indent=1))
        else:
            show(found)
        return 0


def entries(what: str, families: tuple[str, ...]) -> list[Entry]:
    """The objects of one kind; splits and axes of ``families``, or of every family at its defaults.

    Raises:
        UserError: an unknown family, or ``families`` of something that has none.
    """
    if what in ("experiments", "zoo"):
        if families:
            raise UserError(
                f"--family is for families, methods, splits and axes; {what} name theirs. Leave it out."
            )
        return (
            zoo.listing()
            if what == "zoo"
            else [
                {
                    "name": f"compare --size {name}",
                    "families": size.families,
                    "methods": size.methods,
                    "splits": size.splits,
                }
                for name, size in SIZES.items()
            ]
        )
    if families:
        from experiments import catalogue

        return catalogue.entries(what, families)
    found = json.loads(_CATALOGUE.read_text(encoding="utf-8"))[what]
    if registry.LEARNERS.added or plugins.names("metabridge.families"):
        from experiments import catalogue

        found += catalogue.added(what)
    return found


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
