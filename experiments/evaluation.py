"""``metabridge evaluate``: one method on one family, with the references that its scores are measured by."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.errors import UserError
from bridge.evaluation import result_rows
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.footprint import MEMORY
from bridge.evaluation.plan import Plan, shot_points
from bridge.evaluation.stats import Interval
from bridge.protocol import Agent, decodes
from bridge.report.summary import Key, Line, Results
from bridge.report.tables import known_tasks, number, refusals
from bridge.tasks import family as make_family
from bridge.tasks.base import CONTEXT_AXES, TaskFamily
from bridge.test_time.agent import FineTuned, Periodic
from experiments import methods, registry, training
from experiments.compare import expand_splits
from experiments.progress import Progress
from experiments.terminal import console

ANCHORS = ("random", "oracle", "bayes")
"""What 0 and 1 mean; played beside the method where they exist."""


def lines(
    method: str,
    family_spec: str,
    splits: tuple[str, ...],
    settings: dict[str, Any],
    behaviour: str = "",
    decode: str = "",
    memory: int = MEMORY,
) -> list[dict]:
    """Every metric of ``method`` on each split, an object each: metric, mean, low, high, n, ..."""
    family = make_family(family_spec)
    _refuse_other_folders(method)
    _refuse_decoding(method, decode, settings["track"])
    _refuse_idle(settings, behaviour)
    names = expand_splits(family, splits, shown=settings["track"] == "C")
    plans = [Plan(split=name, **settings) for name in names]
    said: list[str] = []
    if methods.is_run(method) and training.is_tuned(method):
        from experiments import finetuning

        plans = [finetuning.on_others(method, family, plan) for plan in plans]
        said += finetuning.shared(method, family, plans)
    said += _idle_flags(family, plans, behaviour)
    anchors = (
        [m for m in ANCHORS if m != method and methods.applies(m, family)]
        if settings["track"] == "O"
        else []
    )
    total = sum(p.trials * _steps(family, p) for p in plans) * (1 + len(anchors))
    columns: dict[tuple[str, str], Any] = {}
    make, called = _made_once(family), {}
    with Progress(total, "environment steps") as progress:
        progress.describe(f"making {method} ready")
        agent = make(method, names[0])  # before anything is played
        _refuse_track(agent, settings["track"])
        said += _idle_steps(agent, family, plans, strict=registry.is_way(method))
        for sentence in said:
            progress.print(sentence)
        for name in (method, *anchors):
            for plan in plans:
                progress.describe(f"{name} on {plan.split}")
                agent = make(name, plan.split)
                called[name, plan.split] = agent.card.method
                if decode and name == method:
                    agent.card = dataclasses.replace(agent.card, decode_rule=decode)
                maker = (
                    _shows(behaviour or "random", family, plan.split, make)
                    if plan.track == "C"
                    else None
                )
                played = evaluate(
                    agent,
                    family,
                    plan,
                    behaviour=maker,
                    progress=progress.advance,
                    memory_limit=memory,
                )
                columns[agent.card.method, plan.split] = result_rows.columns(
                    played, family, agent.card
                )
        read = Results(columns.values())
        found = []
        for plan in plans:
            key = Key(family.id, plan.split, called[method, plan.split], plan.track)
            found += [
                _line(read, key, line.metric, line.interval)
                | {"tasks_left_out": len(plan.left_out)}
                for line in read.lines_of(key)
            ]
        return found


def _made_once(family: TaskFamily) -> Callable[[str, str], Agent]:
    """``methods.agent`` by spec and split, which makes what was trained once: that looks at no split."""
    made: dict[str, Agent] = {}

    def make(spec: str, split: str) -> Agent:
        if not (methods.is_run(spec) or registry.is_way(spec)):
            return methods.agent(spec, family, split)
        if spec not in made:
            made[spec] = methods.agent(spec, family, split)
        return made[spec]

    return make


def _shows(
    behaviour: str, family: TaskFamily, split: str, make: Callable[[str, str], Agent]
) -> Agent:
    """Who makes the context: the one who was named, unless the split says how good it is."""
    parsed = family.split(split)
    graded = parsed.axis == "context_quality"
    return make(f"graded:noise={parsed.value}" if graded else behaviour, split)


def _refuse_other_folders(method: str) -> None:
    """A folder, or what looks like one, must be a run's."""
    if methods.is_search(method):
        raise UserError(
            f"{method} is a tuning folder. Train what it chose: metabridge train {method} --out RUN"
        )
    if methods.is_name(method):
        return
    if (os.sep in method or Path(method).is_dir()) and not training.is_run(method):
        raise UserError(
            f"{method} is no run folder: it has no config.json. Make one: metabridge train ... --out RUN"
        )


def _refuse_decoding(method: str, decode: str, track: str) -> None:
    """Only what a run has learned is decoded, only by a rule that there is, and only where it explores."""
    if decode and track == "C":
        raise UserError(
            "Track C scores frozen episodes, in which the likeliest actions are taken. Leave --decode out."
        )
    if decode and not decodes(decode):
        raise UserError(
            f"--decode is sample, argmax or a temperature of 0 or more, such as 0.5; found {decode!r}."
        )
    if decode and not (methods.is_run(method) or registry.is_way(method)):
        raise UserError(
            f"--decode is for trained runs; {method} has a rule of its own. Leave it out."
        )


def _refuse_idle(settings: dict[str, Any], behaviour: str) -> None:
    """Refuse flags that the track does not read."""
    track = settings["track"]
    if settings["shots"] and track == "O":
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


def _idle_steps(agent: Agent, family: TaskFamily, plans: list[Plan], *, strict: bool) -> list[str]:
    """A sentence if an agent that takes gradient steps takes none on some splits, since its trials are too short.

    Raises:
        UserError: it takes none on any of them, and ``strict``.
    """
    if plans[0].track != "O" or not isinstance(agent, Periodic):
        return []
    trials = {plan.split: family.trial(plan.split) for plan in plans}
    apart = {split: agent.interval(trial) for split, trial in trials.items()}
    still = [split for split, trial in trials.items() if apart[split] >= trial.episodes]
    if not still:
        return []
    why = f"it takes one every {apart[still[0]]:,} episodes but not after a trial's last, here number "
    why += f"{trials[still[0]].episodes:,}"
    return _idle(
        f"{agent.card.method} takes no gradient step on", still, plans if strict else [], why
    )


def _idle(what: str, splits: list[str], plans: list[Plan], why: str) -> list[str]:
    if splits and len(splits) == len(plans):
        raise UserError(f"{what} {', '.join(splits)}: {why}. Leave it out.")
    return [f"{what} {', '.join(splits)}: {why}."] if splits else []


def _refuse_track(agent: Agent, track: str) -> None:
    """What clones is shown something, and what judges itself by its own trial plays it."""
    if not isinstance(agent, FineTuned):
        return
    name = agent.card.method
    if agent.signal == "demos" and track != "C":
        raise UserError(
            f"{name} clones what it is shown, and only track C shows anything. Ask for --track C."
        )
    if agent.rows_to_adapt is not None and track == "C":
        raise UserError(
            f"{name} judges its own play, and track C shows another's. Ask for --track O or F."
        )


def _steps(family: TaskFamily, plan: Plan) -> int:
    trial = family.trial(plan.split)
    if plan.track == "O":
        return trial.episodes * trial.horizon
    shots = plan.shots or trial.episodes
    return (shots + len(shot_points(shots))) * trial.horizon


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
