"""Advice for a setting: the usual one, and our evidence for or against it.

``evidence.csv`` is the ``claims.csv`` of ``metabridge claims --size small``, kept when the log has its entry.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from bridge.evaluation.stats import Interval
from experiments.studies.claims.claim import Choice
from experiments.studies.claims.sheet import SHEET
from experiments.studies.markdown import number, table

EVIDENCE = Path(__file__).with_name("evidence.csv")
"""The rows of the sheet that ship."""
SIZE = "small"
"""The size that they are of."""


def choices(
    *, known_tasks: bool, gradient_at_test: bool, uncertain_identity: bool, shifted: bool
) -> list[str]:
    """Return the names of the choices for a setting; if nothing is known of it, that for new tasks without gradients.

    Args:
        known_tasks: the tasks at test are the training tasks.
        gradient_at_test: gradient steps can be taken at test.
        uncertain_identity: the trial says little about the task.
        shifted: the tasks at test are from another distribution.
    """
    asked = {
        "choose_for_known_tasks": known_tasks,
        "choose_with_gradient_steps": gradient_at_test,
        "choose_if_the_task_is_uncertain": uncertain_identity,
        "choose_under_shift": shifted,
    }
    return [name for name, is_asked in asked.items() if is_asked] or [
        "choose_without_gradient_steps"
    ]


def evidence(path: Path = EVIDENCE) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each claim, by its name."""
    found: dict[str, list[dict[str, Any]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["claim"], []).append(row)
    return found


def text(name: str, rows: dict[str, list[dict[str, Any]]]) -> str:
    """Return the advice for one setting, with its evidence."""
    choice = SHEET[name]
    assert isinstance(choice, Choice)
    begin = f"Setting: {choice.setting}.\nUsual advice: {choice.recommended}."
    if name not in rows:
        return f"{begin}\nWe have not measured it. Run: metabridge claims --size {SIZE} --names {name} --out OUT"
    first = rows[name][0]
    families = ", ".join(dict.fromkeys(player.family.id for player, _ in choice.test.needs))
    verdict, p = first["verdict"], float(first["p"])
    said = f"{begin}\nOur evidence, on {families}: {verdict} (p {p:.2g}, corrected for the sheet). {choice.statement}"
    heads = ("difference in score", "claimed", "found", "seeds")
    return f"{said}\n\n{table(heads, [_row(row) for row in rows[name]], texts=2)}"


def _row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    mean, low, high = (float(row[key]) for key in ("mean", "low", "high"))
    found = Interval(mean, low, high, int(row["n"]), "read")
    sign = ">" if row["side"] == "above" else "<"
    return row["effect"], f"{sign} {row['bound']}", number(found), row["n"]
