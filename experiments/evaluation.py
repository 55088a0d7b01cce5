"""``metabridge evaluate``: one method on one family, with the references that its scores are measured by."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import UserError
from bridge.evaluation import result_rows, results
from bridge.evaluation.footprint import MEMORY
from bridge.evaluation.plan import Plan
from bridge.evaluation.stats import Interval
from bridge.protocol import decodes
from bridge.report.summary import Key, Line, Results
from bridge.report.tables import known_tasks, number, refusals
from bridge.tasks import family as make_family
from bridge.tasks.base import CONTEXT_AXES, TaskFamily
from experiments import agents, sources, specs, zoo
from experiments.cells import Cell, expand_splits, keep
from experiments.compare import AS_THEY_SHIP, CONFIGURATIONS, MARKER, ZOO, of_context
from experiments.progress import Progress
from experiments.terminal import console, print_line
from experiments.threads import threads_for

if TYPE_CHECKING:
    from rich.table import Table

ANCHORS = ("random", "oracle", "bayes")
"""References that define 0 and 1 of scores; they are played beside the method if the family has them."""


def play(
    method: str,
    family_spec: str,
    splits: tuple[str, ...],
    plan: Plan,
    behaviour: str = "",
    decode: str = "",
    memory: int = MEMORY,
    out: Path | None = None,
) -> tuple[Results, dict[Key, Plan]]:
    """Play ``method`` on each split, and the references beside it; return all results, and the plans of ``method``.

    With ``out``, rows are kept in that results folder, and what is there is not played again.

    Raises:
        UserError: unknown names, flags that have no effect, or a folder whose rows were played otherwise.
    """
    family, track = make_family(family_spec), plan.track
    source = agents.resolve(method, family)
    source.check_track(track)
    _check_flags(source, plan, behaviour, decode)
    names = expand_splits(family, splits, with_context=track == "C")
    plans, notices = source.new_tasks([dataclasses.replace(plan, split=name) for name in names])
    notices += _idle_flags(family, plans, behaviour)
    sources = {method: source}
    if track == "O":
        anchors = (name for name in ANCHORS if agents.plays(name, family))
        sources |= {name: agents.resolve(name, family) for name in anchors}
    cell = Cell(
        family,
        method,
        specs.label(method) + (f" ({decode})" if decode else ""),
        next(iter(specs.seeds(method, family))),
        tuple(plans),
        out or Path(),
        behaviour=behaviour,
        decode=decode,
        memory=memory,
    )
    beside = [
        dataclasses.replace(cell, spec=name, method=name, seed=0, decode="", plans=modelled)
        for name, anchor in sources.items()
        if name != method
        and (modelled := tuple(plan for plan in plans if anchor.plays_split(plan.split)))
    ]
    total = sum(each.env_steps for each in (cell, *beside))
    with Progress(total, "environment steps") as progress:
        progress.describe(f"making {method} ready")
        card = source.load(names[0]).card  # before anything is played
        notices += _idle_steps(source, plans)
        for notice in notices:
            progress.print(notice)
        if out is None:
            cell = dataclasses.replace(cell, method=card.method)
            rows = [_rows(each, sources[each.spec], progress) for each in (cell, *beside)]
    read = Results(itertools.chain(*rows)) if out is None else _kept([cell, *beside], out)
    return read, {Key(family.id, plan.split, cell.method, track): plan for plan in plans}


def _rows(cell: Cell, source: sources.Source, progress: Progress) -> list[result_rows.Columns]:
    """The rows of a cell that is played in this process."""
    progress.describe(cell.name)
    with threads_for(cell.reads_text):
        return [
            result_rows.columns(evaluation, cell.family, card, seed=cell.seed)
            for evaluation, card, _ in cell.play(source, progress.advance)
        ]


def _kept(cells: list[Cell], out: Path) -> Results:
    """Play the cells that a results folder lacks; return all that it holds, of a comparison or of other evaluations.

    Raises:
        UserError: its rows were played otherwise, or tasks are left out here, as of no other row.
    """
    first, family, plan = cells[0], cells[0].family, cells[0].plans[0]
    if any(plan.left_out for plan in first.plans):
        raise UserError(
            f"Tasks that {first.spec} was tuned on are left out, for references too: such rows are unlike those of "
            "other methods. Leave --out out."
        )
    alike = family.id, plan.track, family.hash, plan.hash
    for played, family_hash, *_, track, config_hash in results.done(out):
        if (played, track) == alike[:2] and (family_hash, config_hash) != alike[2:]:
            raise UserError(
                f"{out} holds rows of {family.id} with other trials or seeds, or of another version of it. Give the "
                "same settings, or choose another --out."
            )
    about: dict[str, Any] = {
        CONFIGURATIONS: None,  # for a comparison to say
        f"trials a split on {family.name}": plan.trials,
        **of_context([plan.track], plan.shots, first.behaviour),
    }
    if zoo.is_entry(specs.run_in(first.spec)):
        about[ZOO] = AS_THEY_SHIP
    keep(cells, out, MARKER, about, "comparison")
    return Results(out)


def _check_flags(source: sources.Source, plan: Plan, behaviour: str, decode: str) -> None:
    """Refuse flags that the track does not read, and rules of decoding that the agent does not follow."""
    track = plan.track
    if decode and track == "C":
        raise UserError(
            "Track C scores frozen episodes, in which the likeliest actions are taken. Leave --decode out."
        )
    if decode and not decodes(decode):
        raise UserError(
            f"--decode is sample, argmax or a temperature of 0 or more, such as 0.5; found {decode!r}."
        )
    if decode and not source.trained:
        raise UserError(
            f"--decode is for trained runs; {source.spec} has a rule of its own. Leave it out."
        )
    if plan.shots and track == "O":
        raise UserError(
            "--shots is for tracks C and F; track O plays whole trials. Leave it out, or ask for --track F."
        )
    if behaviour and track != "C":
        raise UserError(
            f"--behaviour is for track C; track {track} shows nothing. Leave it out, or ask for --track C."
        )


def _idle_flags(family: TaskFamily, plans: list[Plan], behaviour: str) -> list[str]:
    """A sentence for each flag that has no effect on some splits.

    Raises:
        UserError: it has no effect on any of them.
    """
    said: list[str] = []
    if plans[0].trials_per_task:
        finite = [p.split for p in plans if family.support(p.split) is not None]
        said += _idle(
            "--trials-per-task has no effect on",
            finite,
            plans,
            "their tasks are a finite list, which is played in turn",
        )
    if behaviour:
        graded = [p.split for p in plans if family.split(p.split).axis in CONTEXT_AXES]
        said += _idle("--behaviour has no effect on", graded, plans, "its levels say who shows")
    return said


def _idle_steps(source: sources.Source, plans: list[Plan]) -> list[str]:
    """A sentence if an agent that takes gradient steps takes none on some splits, since its trials are too short.

    Raises:
        UserError: it takes none on any of them, although the spec names gradient steps.
    """
    if plans[0].track != "O":
        return []
    trials = {plan.split: source.family.trial(plan.split) for plan in plans}
    every = {split: source.steps_every(trial) for split, trial in trials.items()}
    still = [split for split, count in every.items() if count and count >= trials[split].episodes]
    if not still:
        return []
    why = f"it takes one every {every[still[0]]:,} episodes but not after a trial's last, here number "
    why += f"{trials[still[0]].episodes:,}"
    what = f"{source.load(still[0]).card.method} takes no gradient step on"
    return _idle(what, still, plans if isinstance(source, sources.TestTime) else [], why)


def _idle(what: str, splits: list[str], plans: list[Plan], why: str) -> list[str]:
    if splits and len(splits) == len(plans):
        raise UserError(f"{what} {', '.join(splits)}: {why}. Leave it out.")
    return [f"{what} {', '.join(splits)}: {why}."] if splits else []


def objects(read: Results, asked: dict[Key, Plan]) -> list[dict[str, Any]]:
    """Return every number of the method that was asked for, an object each: metric, mean, low, high, n, ..."""
    return [_object(read, line, plan) for key, plan in asked.items() for line in read.lines_of(key)]


def _object(read: Results, line: Line, plan: Plan) -> dict[str, Any]:
    key, interval = line.key, line.interval
    about, overlap = read.about[key], read.overlap(key)
    ends = interval._asdict()
    return {
        "method": key.method,
        "family": key.family,
        "split": key.split,
        "track": key.track,
        "metric": line.metric,
        **{name: _finite(ends[name]) for name in ("mean", "low", "high")},
        "n": interval.n,
        "interval": interval.kind,
        "clue": about["clue"],
        "exact_reference": about["exact"],
        "train_task_share": overlap.share if overlap else None,
        "training_tasks": known_tasks(read, key),
        "tasks_left_out": len(plan.left_out),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def show(read: Results, asked: dict[Key, Plan]) -> None:
    """Print the same numbers, a table for each split, with the returns of the references below that of the method."""
    first = next(iter(asked))
    out = console()
    print_line(out, f"{first.method} on {first.family}, track {first.track}", style="bold")
    for key in asked:
        out.print()
        out.print(_table(read, key, beside=[name for name in ANCHORS if name != first.method]))
        if known := known_tasks(read, key):
            out.print(f"{key.split}: {known}.", soft_wrap=True)
    for sentence in refusals(line for key in asked for line in read.lines_of(key)):
        out.print(sentence, soft_wrap=True)


def _table(read: Results, key: Key, beside: list[str]) -> Table:
    """The numbers of one split, in 80 characters, with the returns of the methods ``beside``."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in (key.split, "mean ± 95%", "n", "interval"):
        side = "right" if column in ("mean ± 95%", "n") else "left"
        table.add_column(column, justify=side, overflow="fold")
    for line in read.lines_of(key):
        if line.metric == "refused_steps":
            continue
        shown: dict[str, Interval | None] = {line.metric: line.interval}
        if line.metric == "trial_return":
            shown |= {f"  of {name}": read.mean(key._replace(method=name)) for name in beside}
        for what, interval in shown.items():
            if interval:
                table.add_row(what, number(interval), f"{interval.n:,}", interval.kind)
    return table
