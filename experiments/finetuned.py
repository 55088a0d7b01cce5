"""Fine-tuning for a family: one tuned copy of a trained transformer, and the agent that its folder holds.

The folder stands by itself. ``config.json`` holds the settings, ``base/`` the policy that was tuned; the learned
weights are peft's adapter, or the policy in ``tuned/``, and are written last. Until then ``checkpoints/`` let a stopped
command continue, bitwise as if it had never stopped.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from bridge import files
from bridge.errors import DivergenceError, UserError
from bridge.evaluation.assignment import Assignment
from bridge.evaluation.plan import Plan
from bridge.interrupts import asked_to_stop
from bridge.protocol import Card
from bridge.tasks import family as make_family
from bridge.tasks.base import SUITE_VERSION, TaskFamily
from bridge.tasks.overlap import task_keys
from bridge.training import checkpoint, run_folder, train_log
from experiments import agents, runs, sources
from experiments.progress import Progress
from llm_adapt import base_policy, data, trainable
from llm_adapt.base_policy import fingerprint
from llm_adapt.finetuning import Config, Demonstrations, Returns, Tuning
from llm_adapt.in_context import InContext
from llm_adapt.local_files import is_tuned
from llm_adapt.multi_task import OneEpisode
from llm_adapt.trainable import Finetuned

_CHECKPOINTS = "checkpoints"
_CHUNK = 4_096
"""Tasks that are compared at a time."""
_SAYS = {
    "family": str,
    "family_hash": str,
    "method": str,
    "base": dict,
    "reads": str,
    "signal": str,
    "split": str,
    "tasks": list,
    "params_total": int,
    "params_trained": int,
}
"""Keys of its ``config.json``, and their types."""
_BASE = {"run": str, "fingerprint": str, "card": dict}
"""Keys of ``base`` in it."""
_CARD = {
    key: type(value)
    for key, value in dataclasses.asdict(Card(method="")).items()
    if key != "adapts"
}
"""Keys of the base's card in it; how a tuned policy adapts follows from what it reads."""
_KINDS = {kind.reads: kind for kind in (InContext, OneEpisode)}


def finetune(
    run: str,
    family_spec: str,
    config: Config,
    out: Path,
    *,
    split: str,
    demos: str,
    resume: bool = False,
    checkpoint_every: float = 300.0,
) -> dict[str, Any] | None:
    """Tune, and write ``out``; return its ``config.json`` and the ``env_steps`` that it cost.

    None if a signal stopped it: the state is saved, and the same call with ``resume`` continues.

    Args:
        run: the folder of a trained transformer.
        family_spec: the family that it was trained on.
        config: the weights that are trained, and how far.
        out: a folder that is not there yet, or is empty, or holds the same tuning to be resumed.
        split: the split whose tasks are played for reward; empty: train.
        demos: histories to imitate instead: a collection's folder, one of its shards, or a Minari dataset
            (``minari:NAME-v0``); empty: none.
        resume: go on with the tuning that ``out`` holds.
        checkpoint_every: seconds between checkpoints.

    Raises:
        UserError: ``run`` is no transformer's, ``out`` holds something else or is being written to, or the settings do
            not fit the policy.
        StorageError: ``out`` cannot be written; found before the first step.
        DivergenceError: a loss is not finite; the last checkpoint is kept.
    """
    runs.check_cadence(checkpoint_every)
    if not (out / "config.json").is_file() and _entries(out):
        raise UserError(
            f"{out} is not empty, and holds no fine-tuning to go on with. Choose another --out."
        )
    family = dataclasses.replace(make_family(family_spec), tests=0)  # tasks have their own numbers
    tuning, about = _begun(run, family, config, split, demos)
    with (
        files.locked(out),
        asked_to_stop() as asked,
        Progress(config.steps, "gradient steps") as progress,
    ):
        run_folder.claim(out, about, resume=resume)
        if not is_tuned(out):
            progress.describe(
                f"{config.tuner} on {about['family']}, {about['split']}, {about['signal']}"
            )
            if not _tune(tuning, out, asked, progress, checkpoint_every):
                return None
        shutil.rmtree(out / _CHECKPOINTS, ignore_errors=True)
    return about | {"env_steps": train_log.last(out, "env_steps") or tuning.signal.env_steps}


def _begun(
    run: str, family: TaskFamily, config: Config, split: str, demos: str
) -> tuple[Tuning, dict[str, Any]]:
    """A tuning before its first step, and its ``config.json``.

    Raises:
        UserError: the settings do not fit the policy, or ``run`` holds none.
    """
    agent = _transformer(run, family)
    shown = data.stored(demos, family) if demos else None
    if shown and split and split != shown.split:
        raise UserError(
            f"{demos} holds histories on {shown.split}, not on {split}. Leave --split or --demos out."
        )
    split = shown.split if shown else split or "train"
    family.split_of_tasks(split)
    size = family.support(split)
    if size is not None and split != "train" and not shown and config.tasks >= size:
        raise UserError(
            f"--tasks {config.tasks} are all of the {size} tasks of {split}, and none would be left to score. Tune on "
            f"{size // 2} or so."
        )
    if config.tuner == "prompt" and agent.reads == "episode":
        raise UserError(
            f"A prompt is read where a trial begins, and {run} forgets with every episode. Take lora."
        )
    tuned = config.begin(agent.policy, seed=config.seed)
    learner = type(agent)(tuned.policy, Card(method="finetuning"))
    if shown:
        signal = Demonstrations(learner, family, shown, config)
        played = [] if split == "train" else _distinct(family, split, shown.tasks)
    else:
        signal = Returns(learner, family, split, config)
        played = signal.numbers.tolist()
    about = {
        "kind": runs.FINETUNED,
        "suite_version": SUITE_VERSION,
        "family": family.id,
        "family_hash": family.hash,
        "method": f"{config.tuner}_{runs.read(run).about['method']}",
        "config": dataclasses.asdict(config) | {"lr": config.rate},
        "base": {
            "run": run,
            "fingerprint": fingerprint(tuned.base),
            "card": dataclasses.asdict(agent.card),
        },
        "reads": agent.reads,
        "signal": "demos" if shown else "reward",
        "demos": demos,
        "shown": shown.name if shown else "",
        "histories": len(shown.rows) if shown else 0,
        "split": split,
        "tasks": played,
        "grad_steps": config.steps,
        "params_total": sum(weights.numel() for weights in tuned.policy.parameters()),
        "params_trained": sum(weights.numel() for weights in tuned.learned.values()),
    }
    return Tuning(tuned, signal, config), json.loads(json.dumps(about))


def _tune(
    tuning: Tuning,
    out: Path,
    asked: Callable[[], bool],
    progress: Progress,
    checkpoint_every: float,
) -> bool:
    """Finish a tuning in its own folder; return False if a signal stopped it, with the state saved."""
    if not (out / "base").is_dir():
        with base_policy.quiet():
            files.write_folder(out / "base", tuning.tuned.base.save_pretrained)
    _restore(tuning, out, progress.print)
    log = train_log.Log(out, tuning.grad_steps, "grad_steps", progress.print)
    saved, at = time.monotonic(), tuning.grad_steps
    progress.reach(tuning.grad_steps)
    try:
        for line in tuning.steps():
            log.write(line)
            progress.reach(tuning.grad_steps)
            if asked():
                break
            if time.monotonic() - saved >= checkpoint_every:
                _save(tuning, out)
                saved, at = time.monotonic(), tuning.grad_steps
    except DivergenceError as error:
        raise run_folder.diverged(out, tuning.signal.env_steps, str(error)) from None
    if tuning.grad_steps > at:
        _save(tuning, out)
    if asked():
        return False
    _finish(tuning.tuned, out)
    return True


def _save(tuning: Tuning, out: Path) -> None:
    """Write a checkpoint, named by gradient steps."""
    checkpoint.save_step(out / _CHECKPOINTS, tuning.grad_steps, tuning.state_dict())


def _restore(tuning: Tuning, out: Path, tell: Callable[[str], None]) -> None:
    """Restore the last checkpoint, if there is one.

    Raises:
        UserError: it is of another version.
    """
    state = checkpoint.load_last(out / _CHECKPOINTS, tell)
    try:
        if state is not None:
            tuning.load_state_dict(state)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{out} was written by another version ({error}). Fine-tune into another folder."
        ) from None


def _finish(tuned: Finetuned, out: Path) -> None:
    """Write the learned weights, the tensors last: a folder that has them is finished."""
    made = out / ".tuned"
    shutil.rmtree(made, ignore_errors=True)
    files.write_folder(made, tuned.save)
    for path in sorted(made.iterdir(), key=lambda path: (path.suffix == ".safetensors", path.name)):
        path.replace(out / path.name)
    made.rmdir()


def _entries(out: Path) -> list[Path]:
    """The entries of a folder without locks and unfinished files; none if it is no folder."""
    try:
        return [path for path in out.iterdir() if path.name != ".lock" and path.suffix != ".tmp"]
    except OSError:
        return []


def load_agent(place: str, family: TaskFamily) -> InContext:
    """Return the agent that a folder of ``finetune`` holds.

    Raises:
        UserError: a folder of another family or version, or one that cannot be read.
    """
    folder, about = Path(place), _about(place)
    runs.refuse_other_family(folder, about, family)
    if not is_tuned(folder):
        raise UserError(
            f"{folder} is not finished. Go on with the same metabridge finetune command and --resume."
        )
    base = base_policy.read(folder / "base")
    if about["base"]["fingerprint"] != fingerprint(base):
        raise UserError(
            f"{folder} was tuned from {about['base']['fingerprint']}, and the policy in its base/ is "
            f"{fingerprint(base)}. Fine-tune it again."
        )
    before = Card(**{key: about["base"]["card"][key] for key in _CARD})
    card = dataclasses.replace(
        before,
        method=f"{about['method']} ({folder.name})",
        adapts="context" if about["reads"] == "trial" else "nothing",
        supervision=f"{before.supervision}, then {'histories' if about['signal'] == 'demos' else 'reward'}",
        selection_rule="last gradient step",
        params_total=about["params_total"],
        params_trained=about["params_trained"],
    )
    policy = trainable.load(base, folder)
    files.verify(folder)
    return _KINDS[about["reads"]](policy, card)


def on_new_tasks(place: str, family: TaskFamily, plan: Plan) -> Plan:
    """Return the plan without tasks that ``place`` was tuned on, if a finite list has others."""
    tuned, size = _tuned(place, family), family.support(plan.split)
    if not tuned or size is None:
        return plan
    known = tuple(
        n for n, task in enumerate(_named(family, plan.split, torch.arange(size))) if task in tuned
    )
    return dataclasses.replace(plan, left_out=known) if len(known) < size else plan


def overlap_notices(place: str, family: TaskFamily, plans: Iterable[Plan]) -> list[str]:
    """Return a sentence for each plan that leaves out, or scores, tasks that ``place`` was tuned on."""
    tuned, said = _tuned(place, family), []
    for plan in plans:
        if plan.left_out:
            said.append(
                f"{place} was tuned on {len(plan.left_out):,} of the {family.support(plan.split):,} tasks of "
                f"{plan.split}, which are left out."
            )
        count = 0
        for ids in torch.arange(plan.trials).split(_CHUNK) if tuned else ():
            count += sum(
                task in tuned
                for task in _named(family, plan.split, Assignment.of(family, plan).task(ids))
            )
        if count:
            said.append(
                f"{count:,} of the {plan.trials:,} trials on {plan.split} play tasks that {place} was tuned on: its "
                "scores there are not of new tasks alone."
            )
    return said


def _tuned(place: str, family: TaskFamily) -> set[bytes]:
    """Keys of the tasks that it was tuned on; none if it imitated histories on training tasks, as learners may."""
    about, family = _about(place), dataclasses.replace(family, tests=0)  # numbers are of the whole
    return (
        set(_named(family, about["split"], torch.tensor(about["tasks"])))
        if about["tasks"]
        else set()
    )


def _named(family: TaskFamily, split: str, numbers: Int[Tensor, " k"]) -> list[bytes]:
    """Keys of tasks: their parameters."""
    return task_keys(family.sample(split, numbers))


def _distinct(family: TaskFamily, split: str, numbers: Int[Tensor, " k"]) -> list[int]:
    """Numbers of distinct tasks: of equal tasks, the first number."""
    return list(dict(zip(_named(family, split, numbers), numbers.tolist(), strict=True)).values())


def _transformer(run: str, family: TaskFamily) -> InContext:
    """The agent of a run whose policy can be tuned, without adapters that start from zero.

    Raises:
        UserError: ``run`` is the folder of another kind of agent, or of none.
    """
    name = runs.read(run).about["method"]
    source = agents.folder(run, family)
    if not isinstance(source, sources.Run):
        raise UserError(
            f"{run} is tuned already. Tune the run that it came from: {_about(run)['base']['run']}"
        )
    method, agent = source.method, source.agent
    if method.reads_text:
        raise UserError(
            f"{run} holds an adapter of a language model, which is not tuned so. Train one on histories (metabridge "
            f"train {name}), or take gradient steps in every trial: metabridge evaluate lora_reward:run={run}"
        )
    if not method.transformer:
        raise UserError(
            f"{run} holds a run of {name}, which is no transformer. Give the folder of a trained transformer: "
            f"metabridge train icl_rl --family {family.id} --out RUN"
        )
    if method.takes_steps and not method.base:
        raise UserError(
            f"{run} has adapters already, which begin where it was trained to. Tune a run of mt."
        )
    return agent.agent if method.base else agent


def _about(place: str) -> dict[str, Any]:
    """Its ``config.json``.

    Raises:
        UserError: it cannot be read, lacks a key, or has a value of another type.
    """
    folder = Path(place)
    about = run_folder.read_config(folder)
    run_folder.check_config(folder, about, _SAYS)
    run_folder.check_config(folder, about["base"], _BASE)
    run_folder.check_config(folder, about["base"]["card"], _CARD)
    for task in about["tasks"]:
        if type(task) is not int or not 0 <= task < 1 << 63:
            raise UserError(
                f"{place} cannot be read: its tasks should be numbers of tasks, found {task!r}."
            )
    if about["reads"] not in _KINDS:
        raise UserError(
            f"{place} cannot be read: it reads {about['reads']!r}, not {' or '.join(_KINDS)}."
        )
    return about
