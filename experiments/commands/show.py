"""``metabridge show``: a run as its folder describes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from bridge.config import joined
from experiments.terminal import columns, console, facts, print_line

if TYPE_CHECKING:
    from rich.console import Console

_BAR = 40
"""Characters of the longest bar."""
_UNITS = {
    "env_steps": "environment steps",
    "grad_steps": "gradient steps",
    "seconds": "seconds",
    "flops": "FLOPs",
}
_APART = {
    "name", "kind", "method", "family", "seed", "state", "budget", "spent", "cost", "changed", "by_default", "curve",
    "notices", "command", "next",
}  # fmt: skip
"""Keys of a summary that have places of their own."""


@dataclass(frozen=True, kw_only=True)
class Show:
    """Show a run: its state, cost, configuration and learning curve, and the commands that come next.

    For example: metabridge show zoo:icl_rl/gridnavi
    """

    run_folder: Positional[str]
    """The folder of a trained or fine-tuned run, or zoo:METHOD/FAMILY."""
    json: bool = False
    """Print a JSON object."""

    def run(self) -> int:
        """Print it."""
        from experiments import showing

        found = showing.summary(self.run_folder)
        if self.json:
            print(json.dumps(found, indent=1, allow_nan=False))
        else:
            show(found)
        return 0


def show(found: dict[str, Any]) -> None:
    """Print a summary."""
    from experiments.showing import CURVES

    out = console()
    title = "{name}: {method} on {family}, seed {seed} ({kind})"
    print_line(out, title.format(**found), style="bold")
    cost = (f"{_number(each)} {_UNITS[unit]}" for unit, each in found["cost"].items())
    progress = {
        "state": "{state}, {spent:.1%} of {budget}".format(**found),
        "cost": "; ".join(cost),
    }
    rest = {key.replace("_", " "): each for key, each in found.items() if key not in _APART}
    out.print(facts((progress | rest).items()))
    _heading(out, "Configuration")
    settings = {key: _settings(found[key]) for key in ("changed", "by_default")}
    out.print(facts((key.replace("_", " "), each) for key, each in settings.items()))
    if curve := found["curve"]:
        _heading(out, f"Learning curve: {CURVES[curve['metric']]}")
        _show_curve(out, curve)
    for notice in found["notices"]:
        out.print()
        out.print(notice, soft_wrap=True)
    if found.get("command"):
        _heading(out, "Command")
        out.print(f"  {found['command']}", soft_wrap=True)
    _heading(out, "Next")
    for command in found["next"]:
        out.print(f"  {command}", soft_wrap=True)


def _heading(out: Console, text: str) -> None:
    out.print()
    print_line(out, text, style="bold")


def _settings(values: dict[str, Any]) -> list[str]:
    return [joined({key: value}) for key, value in values.items()]


def _show_curve(out: Console, curve: dict[str, Any]) -> None:
    """Print a line for each point, with a bar from the lowest value to the highest."""
    values = [value for _, value in curve["points"]]
    low, high = min(values), max(values)
    block = "#" if out.options.ascii_only else "█"
    steps = [f"{count:,}" for count, _ in curve["points"]]
    rows = [
        (count.rjust(max(map(len, steps))), f"{value:.4g}", block * _length(value, low, high))
        for count, value in zip(steps, values, strict=True)
    ]
    for line in columns(rows):
        print_line(out, f"  {line}")
    mean = f", means of {curve['mean_of']} points" if curve["mean_of"] > 1 else ""
    print_line(out, f"  {_UNITS[curve['steps']]}, value; bars from {low:.4g} to {high:.4g}{mean}")


def _length(value: float, low: float, high: float) -> int:
    """Characters of a bar."""
    return 1 + round((_BAR - 1) * ((value - low) / (high - low) if high > low else 1))


def _number(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
