"""``metabridge tune``: N configurations drawn by seed, each trained alike, scored on id_val; the best one is named.

A tuning folder holds a run folder for each configuration and ``tuning.json``, which says what was tried, how each did
and which was chosen. ``metabridge train FOLDER`` trains the chosen one, with other training seeds than tuning's, so
that what is reported is not what was selected on.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bridge import config, results
from bridge.budget import Budget
from bridge.errors import UserError
from bridge.evaluate import Plan, evaluate
from bridge.tasks import family as make_family
from bridge.tasks.base import SUITE_VERSION, TaskFamily
from bridge.train import read_cost
from bridge.tuning import draw
from experiments import pool, training
from experiments.progress import Progress

TRAINING_SEED = 1000
"""Of every configuration while tuning; training seeds of results are small numbers."""
TRIALS = 4_000
"""On id_val, the same ones for every configuration."""
_FILE = "tuning.json"


@dataclass(frozen=True)
class _Candidate:
    """One configuration, to be trained."""

    training: training.Run

    @property
    def name(self) -> str:
        return self.training.method

    @property
    def env_steps(self) -> int:
        return self.training.env_steps

    def run(self, advance: Callable[[int], None]) -> None:
        """Train it, or what is left of that."""
        training.train_rest(self.training, advance)


def tune(method: str, family_spec: str, *, configs: int, seed: int, budget: Budget, out: Path) -> None:
    """Train and score what is missing in ``out``, write ``tuning.json``, print the table.

    Raises:
        UserError: unknown names, or a folder of another search.
    """
    if configs < 1:
        raise UserError(f"--configs is 1 or more; found {configs}.")
    specs = candidates(method, configs, seed)
    family = make_family(family_spec)
    about: dict[str, Any] = {"suite_version": SUITE_VERSION, "family": family.id, "family_hash": family.hash}
    about |= {"method": method, "seed": seed, "budget": dataclasses.asdict(budget)}
    about |= {"training_seed": TRAINING_SEED, "rule": "best mean trial return on id_val"}
    _claim(out, about)
    runs = [
        training.Run(method=spec, family=family_spec, seed=TRAINING_SEED, budget=budget, out=out / f"{i:03d}")
        for i, spec in enumerate(specs)
    ]
    failed = {}
    with Progress(sum(run.env_steps for run in runs), "environment steps") as progress:
        for candidate, error in pool.each([_Candidate(run) for run in runs], progress):
            if error is not None:
                failed[candidate.name] = str(error)
                progress.print(f"failed: {candidate.name}: {error}")
    entries = [_score(run, family, failed.get(run.method)) for run in runs]
    entries.sort(key=lambda entry: -entry["mean"] if entry["mean"] is not None else float("inf"))
    if entries[0]["mean"] is None:
        raise UserError(f"No configuration of {method} could be trained on {family.id}: {entries[0]['error']}")
    results.write_text(
        out / _FILE, json.dumps(about | {"chosen": entries[0]["method"], "configurations": entries}, indent=1) + "\n"
    )
    _show(entries, family.id, out)


def candidates(method: str, count: int, seed: int) -> list[str]:
    """``count`` specs: ``method`` itself, then draws from its search space that keep what ``method`` sets."""
    name, given = config.split_spec(method)
    start = training.settings(method)
    space = {key: variable for key, variable in training.LEARNERS[name].space.items() if key not in given}
    return [config.spec_of(name, drawn) for drawn in draw(space, start, seed=seed, count=count)]


def is_tuned(place: str, configs: int | None = None) -> bool:
    """Whether ``place`` is a tuning folder that has chosen (from as many configurations as named)."""
    about = _read(Path(place))
    return "chosen" in about and configs in (None, len(about["configurations"]))


def chosen(place: str, family_spec: str) -> tuple[str, int]:
    """The configuration that a tuning folder chose, and of how many.

    Raises:
        UserError: it was tuned on another family.
    """
    about, family = _read(Path(place)), make_family(family_spec)
    if (about["family"], about["family_hash"]) != (family.id, family.hash):
        raise UserError(f"{place} was tuned on {about['family']} (or another version of it), not on {family.id}.")
    return about["chosen"], len(about["configurations"])


def _score(run: training.Run, family: TaskFamily, error: str | None) -> dict[str, Any]:
    """How the last checkpoint of a run does on id_val, and what it cost; ``error`` where it could not be trained."""
    entry: dict[str, Any] = {"method": run.method, "folder": run.out.name, "mean": None, "error": error}
    if error is not None:
        return entry
    played = evaluate(training.load_agent(str(run.out), family), family, Plan(split="id_val", trials=TRIALS))
    n, total, square = (float(part[..., -1].sum()) for part in played.total["trial_return"])
    mean = total / n
    entry |= {"mean": mean, "standard_error": math.sqrt(max(0.0, square / n - mean**2) / n), "trials": int(n)}
    return entry | {"cost": dataclasses.asdict(read_cost(run.out))}


def _claim(out: Path, about: dict[str, Any]) -> None:
    """Make the folder this search's, or make sure that it is: one with more configurations may go on in it."""
    found = _read(out)
    for key, value in about.items():
        if found and found.get(key) != value:
            raise UserError(
                f"{out} holds another search: its {key} is {found.get(key)!r}, this one's is {value!r}. "
                "Choose another --out."
            )
    if not found:
        results.write_text(out / _FILE, json.dumps(about, indent=1) + "\n")


def _read(folder: Path) -> dict[str, Any]:
    """A search's file; empty where there is none."""
    path = folder / _FILE
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}). Choose another folder, or remove it.") from None


def _show(entries: list[dict[str, Any]], family: str, out: Path) -> None:
    table = Table(title=f"{len(entries)} configurations on {family}, id_val", title_justify="left")
    table.add_column("configuration", overflow="fold")
    table.add_column("trial return ↑", justify="right")
    for entry in entries:
        mean = entry["mean"]
        said = entry["error"] if mean is None else f"{mean:.4g} ±{1.96 * entry['standard_error']:.2g}"
        table.add_row(entry["method"], said)
    console = Console()
    console.print(table)
    console.print(
        f"± is half of a 95% interval over {TRIALS:,} trials. The first one is chosen. Next: metabridge train {out} "
        f"--family {family} --out RUN",
        highlight=False,
        soft_wrap=True,
    )
