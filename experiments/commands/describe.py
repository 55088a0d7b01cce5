"""``metabridge describe``: all that is known of one name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from bridge import config
from experiments.describing import Description, describe
from experiments.listing import Entry
from experiments.terminal import console, facts, print_line, text

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Describe:
    """Describe a family, a method, an axis, a size of compare or a trained run that ships: keys, papers, values.

    For example: metabridge describe rl2
    """

    name: Positional[str]
    """A name that metabridge list prints (rl2, bandit:k=5,n=100, slip, gridnavi/slip, quick, zoo:icl_rl/gridnavi), or a
    family or an agent of your own: path/to/maze.py:Maze."""
    json: bool = False
    """Print a JSON object."""

    def run(self) -> int:
        """Print the description."""
        described = describe(self.name)
        if self.json:
            print(json.dumps(described, indent=1))
        else:
            show(described)
        return 0


def show(described: Description) -> None:
    """Print a description: a title, prose, facts, tables, and commands to try."""
    from rich.markdown import Markdown

    rest = dict(described)
    title, commands = f"{rest.pop('name')}: {rest.pop('kind')}", rest.pop("try")
    about, card = rest.pop("about", ""), rest.pop("card", "")
    tables = {key: value for key, value in rest.items() if _is_table(value)}
    named = {key.replace("_", " "): value for key, value in rest.items() if key not in tables}
    out = console()
    print_line(out, title, style="bold")
    if about or card:
        out.print()
        out.print(
            Markdown(about, code_theme="ansi_light") if about else card.strip(), soft_wrap=not about
        )
    if named:
        out.print()
        out.print(facts(named.items()))
    for key, entries in tables.items():
        out.print()
        print_line(out, key.capitalize(), style="bold")
        out.print(_parameters(entries) if key == "parameters" else _table(entries))
    out.print()
    for command in commands:
        out.print(f"  {command}", soft_wrap=True)


def _is_table(value: Any) -> bool:
    """True for a list of objects."""
    return isinstance(value, list) and any(isinstance(each, dict) for each in value)


def _parameters(parameters: list[Entry]) -> Table:
    """A row for each: ``key=default``, its meaning, and the values that it may have."""
    rows = []
    for each in parameters:
        limits = [each["values"]]
        limits += [f"only with {each['only_with']}"] if "only_with" in each else []
        limits += [f"on {', '.join(each['families'])}"] if "families" in each else []
        about = f"{each['meaning']} [{'; '.join(filter(None, limits))}]".removesuffix(" []").strip()
        rows.append((config.joined({each["key"]: each["default"]}), about.replace("``", "")))
    return facts(rows)


def _table(entries: list[Entry]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for column in entries[0]:
        table.add_column(column)
    for entry in entries:
        table.add_row(*(text(value) for value in entry.values()))
    return table
