"""``metabridge evaluate``: one method on one family, with the references that its scores are measured by."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from bridge.errors import UserError
from bridge.evaluation import result_rows
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.footprint import MEMORY
from bridge.evaluation.plan import Plan
from bridge.evaluation.stats import Interval
from bridge.protocol import decodes
from bridge.report.summary import Key, Line, Results
from bridge.report.tables import known_tasks, number, refusals
from bridge.tasks import family as make_family
from bridge.tasks.base import CONTEXT_AXES, TaskFamily
from experiments import agents
from experiments.cells import expand_splits, steps_of
from experiments.progress import Progress
from experiments.terminal import console

ANCHORS = ("random", "oracle", "bayes")
"""References that define 0 and 1 of scores; they are played beside the method if the family has them."""


def lines(
    method: str,
    family_spec: str,
    splits: tuple[str, ...],
    plan: Plan,
    behaviour: str = "",
    decode: str = "",
    memory: int = MEMORY,
) -> list[dict]:
    """Return every metric of ``method`` on each split, an object each: metric, mean, low, high, n, ...

    Raises:
        UserError: unknown names, or flags that have no effect.
    """
    family, track = make_family(family_spec), plan.track
    source = agents.resolve(method, family)
    source.check_track(track)
    _check_flags(source, plan, behaviour, decode)
    names = expand_splits(family, splits, with_context=track == "C")
    plans, notices = source.new_tasks([dataclasses.replace(plan, split=name) for name in names])
    notices += _idle_flags(family, plans, behaviour)
    sources = {method: source} | (_anchors(family) if track == "O" else {})
    shown_by = agents.Behaviour.of(behaviour, family)
    total = sum(steps_of(family, plan) for plan in plans) * len(sources)
    tables: dict[tuple[str, str], Any] = {}
    with Progress(total, "environment steps") as progress:
        progress.describe(f"making {method} ready")
        source.load(names[0])  # before anything is played
        notices += _idle_steps(source, plans)
        for notice in notices:
            progress.print(notice)
        for name, played in sources.items():
            for plan in plans:
                progress.describe(f"{name} on {plan.split}")
                agent = played.load(plan.split)
                if decode and played is source:
                    agent.card = dataclasses.replace(agent.card, decode_rule=decode)
                evaluation = evaluate(
                    agent,
                    family,
                    plan,
                    behaviour=shown_by.load(plan.split) if track == "C" else None,
                    progress=progress.advance,
                    memory_limit=memory,
                )
                tables[name, plan.split] = result_rows.table(evaluation, family, agent.card)
        return _lines(
            Results(tables.values()), [tables[method, plan.split] for plan in plans], plans
        )


def _anchors(family: TaskFamily) -> dict[str, agents.Source]:
    """The references that scores are measured by, if the family has them."""
    return {name: agents.resolve(name, family) for name in ANCHORS if agents.plays(name, family)}


def _lines(read: Results, played: list[Any], plans: list[Plan]) -> list[dict]:
    """The lines of some keys in the results of several methods."""
    lines = []
    for table, plan in zip(played, plans, strict=True):
        key = Key(*(table[name][0].as_py() for name in Key._fields))
        lines += [
            _line(read, key, line.metric, line.interval) | {"tasks_left_out": len(plan.left_out)}
            for line in read.lines_of(key)
        ]
    return lines


def _check_flags(source: agents.Source, plan: Plan, behaviour: str, decode: str) -> None:
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


def _idle_steps(source: agents.Source, plans: list[Plan]) -> list[str]:
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
    asked = source.kind == "test-time"
    what = f"{source.load(still[0]).card.method} takes no gradient step on"
    return _idle(what, still, plans if asked else [], why)


def _idle(what: str, splits: list[str], plans: list[Plan], why: str) -> list[str]:
    if splits and len(splits) == len(plans):
        raise UserError(f"{what} {', '.join(splits)}: {why}. Leave it out.")
    return [f"{what} {', '.join(splits)}: {why}."] if splits else []


def _line(read: Results, key: Key, metric: str, interval: Any) -> dict:
    about, overlap = read.about[key], read.overlap(key)
    return {
        "method": key.method,
        "family": key.family,
        "split": key.split,
        "track": key.track,
        "metric": metric,
        **{
            part: value if math.isfinite(value := getattr(interval, part)) else None
            for part in ("mean", "low", "high")
        },
        "n": interval.n,
        "interval": interval.kind,
        "clue": about["clue"],
        "exact_reference": about["exact"],
        "train_task_share": overlap.share if overlap else None,
        "training_tasks": known_tasks(read, key),
    }


def show(found: list[dict]) -> None:
    """The same as a table."""
    from rich.table import Table

    if not found:
        raise UserError("Nothing was played.")
    table = Table(
        title=f"{found[0]['method']} on {found[0]['family']}, track {found[0]['track']}",
        title_justify="left",
    )
    for column in ("split", "metric", "mean ± 95%", "n", "interval"):
        table.add_column(
            column, justify="right" if column in ("mean ± 95%", "n") else "left", overflow="fold"
        )
    read = [_read(line) for line in found]
    for line in read:
        if line.metric != "refused_steps":
            interval = line.interval
            table.add_row(
                line.key.split, line.metric, number(interval), f"{interval.n:,}", interval.kind
            )
    out = console()
    out.print(table)
    for split, known in {
        line["split"]: line["training_tasks"] for line in found if line["training_tasks"]
    }.items():
        out.print(f"{split}: {known}.", soft_wrap=True)
    for sentence in refusals(read):
        out.print(sentence, soft_wrap=True)


def _read(line: dict) -> Line:
    """The line that ``_line`` made an object of."""
    mean, low, high = (
        math.nan if line[part] is None else line[part] for part in ("mean", "low", "high")
    )
    key = Key(*(line[part] for part in Key._fields))
    return Line(
        key,
        line["metric"],
        Interval(mean, low, high, line["n"], line["interval"], 0.95),
        1,
        line["n"],
    )
