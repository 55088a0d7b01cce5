"""The log of a training: ``train.jsonl``, a line an update."""

from __future__ import annotations

import json
from pathlib import Path

from bridge import files

NAME = "train.jsonl"
_LEFT_OUT = {
    "refused": "of the tasks (an inner step was refused)",
    "skipped": "of the outer steps (skipped)",
}
"""Metrics that are shares of an update that was not finite or too large, and so changed nothing."""


class Log:
    """The log of a folder, cut back to lines whose ``counter`` is at most ``done``, and open for more.

    Damaged lines are left out, and ``notify`` is called with a sentence on them.
    """

    def __init__(
        self,
        folder: Path,
        done: int,
        counter: str = "env_steps",
        notify: files.Tell = print,
    ) -> None:
        self.path = folder / NAME
        lines, damaged = read(folder, counter)
        if damaged:
            numbers = ", ".join(map(str, damaged))
            notify(f"{self.path} is damaged: line {numbers} is left out. The training goes on.")
        kept = "".join(json.dumps(line) + "\n" for line in lines if line[counter] <= done)
        if not self.path.exists() or self.path.read_bytes() != kept.encode():
            files.write_text(self.path, kept)

    def write(self, line: dict[str, float | int]) -> None:
        """Append the line of an update."""
        files.append_line(self.path, json.dumps(line))


def read(
    folder: Path, counter: str = "env_steps"
) -> tuple[list[dict[str, float | int]], list[int]]:
    """The lines that have a ``counter``, and the numbers of damaged lines.

    A last line without its newline, which a killed process leaves, is neither.

    Raises:
        UserError: the log may not be read.
    """
    path, lines, damaged = folder / NAME, [], []
    if not path.exists():
        return [], []
    with files.reading(path):
        *texts, _incomplete = path.read_bytes().split(b"\n")
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            if not all(isinstance(value, int | float) for value in line.values()):
                raise ValueError("not all values are numbers")
            int(line[counter])
            lines.append(line)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
            damaged.append(number)
    return lines, damaged


def write_summary(folder: Path, out: Path) -> None:
    """Write the log of ``folder`` into ``out``, shortened to the lines with an evaluation and the last one.

    ``seconds`` of a line are those since the line before it.
    """
    lines, _ = read(folder)
    kept, seconds = [], 0.0
    for line in lines:
        seconds += line.get("seconds", 0.0)
        if line is lines[-1] or any(name.startswith("id_val") for name in line):
            kept.append(line | {"seconds": seconds})
            seconds = 0.0
    files.write_text(out / NAME, "".join(json.dumps(line) + "\n" for line in kept))


def last(folder: Path, key: str) -> int:
    """The value of ``key`` in the last whole line that has it; 0 if there is none.

    Raises:
        UserError: the log may not be read.
    """
    lines, _ = read(folder, key)
    return int(lines[-1][key]) if lines else 0


def left_out(folder: Path) -> str:
    """A sentence on the share of training that was left out as not finite or too large; empty if nothing was."""
    lines, _ = read(folder)
    parts = []
    for name, meaning in _LEFT_OUT.items():
        shares = [line[name] for line in lines if line.get(name)]
        if shares:
            mean = sum(shares) / len(lines)
            parts.append(f"{mean:.2%} {meaning}, in {len(shares):,} of {len(lines):,} updates")
    return f"left out of training, as no number or too long: {'; '.join(parts)}." if parts else ""
