"""Hyperparameter search: N configurations drawn by seed, each trained alike and scored on id_val.

A tuning folder holds a run folder for each configuration, and ``tuning.json`` with the scores and the choice.
``metabridge train FOLDER`` trains the chosen one, with other training seeds than tuning's and played with other noise,
so that what is reported is not what was selected on.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bridge import config, files, json_files
from bridge.errors import DivergenceError, UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.tasks import family as make_family
from bridge.tasks.base import SUITE_VERSION
from bridge.training.budget import Budget
from bridge.training.run_folder import read_cost
from bridge.training.search_space import draw
from experiments import pool, runs, specs
from experiments.markers import claim
from experiments.progress import Progress
from experiments.registry import LEARNERS, TUNING_SEED
from experiments.terminal import console

TRIALS = 4_000
"""Trials on id_val, the same ones for every configuration."""
_TRIALS_OF_LANGUAGE_MODELS = 500
"""The same for language models, which take as long over each of them as others over thousands."""
EVAL_SEED = 1_000
"""Seed of these trials' noise. Reports use 0: in families with few tasks, id_val has the tasks of id."""
_FILE, _SCORE = "tuning.json", "score.json"


@dataclass(frozen=True)
class Candidate:
    """One configuration of a search."""

    training: runs.Run
    learns: ClassVar[bool] = True
    by_network: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The name in progress and errors."""
        return self.training.method

    @property
    def reads_text(self) -> bool:
        """True if a language model is trained."""
        return specs.reads_text(self.training.method)

    @property
    def env_steps(self) -> int:
        """Environment steps of its training."""
        return self.training.env_steps

    def run(self, advance: Callable[[int], None]) -> None:
        """Train the rest of it, and keep the score of its last checkpoint on id_val beside the run."""
        runs.train_rest(self.training, advance)
        path = self.training.out / _SCORE
        if path.exists():
            return
        family = make_family(self.training.family)
        agent = runs.load_agent(str(self.training.out), family)
        trials = _TRIALS_OF_LANGUAGE_MODELS if self.reads_text else TRIALS
        played = evaluate(agent, family, Plan(split="id_val", trials=trials, eval_seed=EVAL_SEED))
        n, total, square = played.pooled("trial_return")
        mean = total / n
        error = math.sqrt(max(0.0, square / n - mean**2) / n)
        score = {"mean": mean, "standard_error": error, "trials": int(n)}
        cost = read_cost(self.training.out, lambda _text: None)
        files.write_text(path, json.dumps(score | {"cost": dataclasses.asdict(cost)}) + "\n")


def tune(
    method: str, family_spec: str, *, configs: int, seed: int, budget: Budget, out: Path
) -> None:
    """Train and score the missing configurations in ``out``, write ``tuning.json`` and print the table.

    A configuration that diverges is passed over. Any other failure stops the search, and the same command continues it.

    Raises:
        UserError: unknown names, a folder of another search or of a run, or no configuration that could be trained.
    """
    if runs.is_folder(str(out)):
        raise UserError(
            f"{out} is a run's folder, and a search needs one of its own. Choose another --out."
        )
    if configs < 1:
        raise UserError(f"--configs is 1 or more; found {configs}.")
    specs = candidates(method, configs, seed)
    family = make_family(family_spec)
    runs.check(specs[0], family)
    about: dict[str, Any] = {
        "suite_version": SUITE_VERSION,
        "family": family.id,
        "family_hash": family.hash,
        "method": method,
        "seed": seed,
        "budget": dataclasses.asdict(budget),
        "training_seed": TUNING_SEED,
        "rule": "best mean trial return on id_val",
    }
    trainings = [
        runs.Run(
            method=spec,
            family=family_spec,
            seed=TUNING_SEED,
            budget=budget,
            out=out / f"{i:03d}",
        )
        for i, spec in enumerate(specs)
    ]
    with files.locked(out):
        _claim(out, about, configs)
        failed = _train_all(
            trainings, "environment steps" if budget.unit == "steps" else "millionths of budgets"
        )
        entries = [_entry(run, failed.get(run.method)) for run in trainings]
        entries.sort(key=lambda entry: -entry["mean"] if entry["mean"] is not None else math.inf)
        if entries[0]["mean"] is None:
            raise UserError(
                f"No configuration of {method} could be trained on {family.id}: {entries[0]['error']}"
            )
        found = about | {"chosen": entries[0]["method"], "configurations": entries}
        files.write_text(out / _FILE, json.dumps(found, indent=1) + "\n")
    _show(entries, family.id, out)


def _train_all(trainings: list[runs.Run], unit: str) -> dict[str, str]:
    """Train and score every configuration; return the error of each that diverged."""
    failed = {}
    with Progress(sum(run.env_steps for run in trainings), unit) as progress:
        for candidate, error in pool.each([Candidate(run) for run in trainings], progress):
            if isinstance(error, DivergenceError):
                failed[candidate.name] = str(error)
                progress.print(f"passed over: {candidate.name}: {error}")
            elif error is not None:
                raise error
    return failed


def candidates(method: str, count: int, seed: int) -> list[str]:
    """Return ``count`` specs: ``method`` itself, then draws from its search space that keep the values that it sets."""
    name, given = config.split_spec(method)
    start = runs.settings(method)
    space = {
        key: variable
        for key, variable in LEARNERS[name].space.items()
        if key not in given and config.unread(start, key) is None
    }
    if count > 1 and not space:
        raise UserError(
            f"{method!r} leaves nothing to tune: all of its search space is set. Leave some of it out."
        )
    return [config.spec_of(name, drawn) for drawn in draw(space, start, seed=seed, count=count)]


def is_folder(place: str) -> bool:
    """Return True if ``place`` is a tuning folder, finished or not."""
    return (Path(place) / _FILE).is_file()


def has_chosen(place: Path, configs: int) -> bool:
    """Return True if ``place`` holds a finished search of so many configurations."""
    about = _read(place)
    return "chosen" in about and len(about["configurations"]) == configs


def own_family(place: str) -> str:
    """Return the family that a tuning folder is of."""
    return _read(Path(place))["family"]


def chosen(place: str, family_spec: str) -> tuple[str, int]:
    """Return the configuration that a tuning folder chose, and the number of configurations.

    Raises:
        UserError: the search was on another family, or is not finished.
    """
    about, family = _read(Path(place)), make_family(family_spec)
    if about["family_hash"] != family.hash:
        raise UserError(
            f"{place} was tuned on {about['family']} (or another version of it), not on {family.id}."
        )
    if "chosen" not in about:
        raise UserError(
            f"The search in {place} is not finished. Go on with it: metabridge tune {about['method']} --family "
            f"{about['family']} --out {place} (with its --configs, --seed and --budget)"
        )
    return about["chosen"], len(about["configurations"])


def _entry(run: runs.Run, error: str | None) -> dict[str, Any]:
    """The score of a configuration; ``error`` if it diverged."""
    entry: dict[str, Any] = {
        "method": run.method,
        "folder": run.out.name,
        "mean": None,
        "error": error,
    }
    if error is not None:
        return entry
    path, remedy = run.out / _SCORE, "Remove it: the same command scores the configuration again."
    score = json_files.read_object(path, remedy)
    json_files.check(
        score, path, {"mean": float, "standard_error": float, "trials": int, "cost": dict}, remedy
    )
    return entry | score


def _claim(out: Path, about: dict[str, Any], configs: int) -> None:
    """Make the folder this search's. A finished one may go on with more configurations.

    Raises:
        UserError: the folder holds another search, or one that has tried more configurations.
    """
    tried = len(_read(out).get("configurations", ()))
    if tried > configs:
        raise UserError(
            f"{out} has tried {tried} configurations already; ask for as many or more, or another --out."
        )
    claim(out / _FILE, about, "search")


def _read(folder: Path) -> dict[str, Any]:
    """The content of a search's file; empty if there is none.

    Raises:
        UserError: it cannot be read.
    """
    path = folder / _FILE
    if not path.is_file():
        return {}
    remedy = "Choose another folder, or remove it."
    about = json_files.read_object(path, remedy)
    unfinished = () if "chosen" in about else ("chosen", "configurations")
    json_files.check(about, path, _SAYS, remedy, optional=unfinished)
    listed = [
        entry.get("method") for entry in about.get("configurations", ()) if isinstance(entry, dict)
    ]
    if not unfinished and about["chosen"] not in listed:
        raise UserError(
            f"{path} cannot be read: its configurations do not have the one that was chosen. {remedy}"
        )
    return about


_SAYS = {
    "family": str,
    "family_hash": str,
    "method": str,
    "seed": int,
    "budget": dict,
    "training_seed": int,
    "rule": str,
    "chosen": str,
    "configurations": list,
}
"""Keys of a search's file, and their types; the last two when it is finished."""


def _show(entries: list[dict[str, Any]], family: str, out: Path) -> None:
    from rich.table import Table

    table = Table(title=f"{len(entries)} configurations on {family}, id_val", title_justify="left")
    table.add_column("configuration", overflow="fold")
    table.add_column("trial return ↑", justify="right")
    for entry in entries:
        mean = entry["mean"]
        said = (
            entry["error"] if mean is None else f"{mean:.4g} ±{1.96 * entry['standard_error']:.2g}"
        )
        table.add_row(entry["method"], said)
    terminal = console()
    terminal.print(table)
    terminal.print(
        f"± is half of a 95% interval over {TRIALS:,} trials. The first one is chosen. Next: metabridge train {out} "
        f"--family {family} --out RUN",
        soft_wrap=True,
    )
