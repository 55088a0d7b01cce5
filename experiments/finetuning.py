"""``metabridge finetune``: one tuned copy of a trained transformer for a family; and the agent that its folder holds.

The folder is whole by itself: ``config.json`` says what was done, ``base/`` is the policy that was tuned, and what was
learned is peft's adapter, or the policy in ``tuned/``, which comes last. Before that there are ``checkpoints/``, from
which a stopped command goes on, bitwise as if it had never stopped.
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
from bridge.test_time.agent import FineTuned
from bridge.training import checkpoint, run_folder
from experiments import training
from experiments.progress import Progress
from llm_adapt import base_policy, data, trainable
from llm_adapt.base_policy import fingerprint
from llm_adapt.finetuning import Config, Demonstrations, Returns, Tuning
from llm_adapt.in_context import InContext
from llm_adapt.low_rank import PretrainedLora
from llm_adapt.multi_task import OneEpisode
from llm_adapt.trainable import Finetuned

_CHECKPOINTS = "checkpoints"
_CHUNK = 4_096
"""Tasks compared at a time."""
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
"""What its config.json says, and in which types."""
_BASE = {"run": str, "fingerprint": str, "card": dict}
"""What it says of the base."""
_CARD = {key: type(value) for key, value in dataclasses.asdict(Card(method="")).items()}
"""What it says of the base's card."""
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
    """Tune, and write ``out``; returns what its ``config.json`` says and the ``env_steps`` paid for.

    None if a signal asked to stop first: the state is saved, and the same call with ``resume`` goes on.

    Args:
        run: the folder of a trained transformer.
        family_spec: the family that it was trained on.
        config: what is trained, and how far.
        out: a folder that is not there yet, or is empty, or holds the same tuning to be resumed.
        split: whose tasks are played for reward; empty: train.
        demos: histories to imitate instead: a collection's folder or one of its shards; empty: none.
        resume: go on with the tuning that ``out`` holds.
        checkpoint_every: seconds; most work that a kill can lose.

    Raises:
        UserError: ``run`` is no transformer's, ``out`` holds something else or is being written to, or what is asked
            for does not fit the policy.
        StorageError: ``out`` cannot be written; found before the first step.
        DivergenceError: training came to numbers that are none; the last checkpoint is kept.
    """
    training.check_cadence(checkpoint_every)
    if not (out / "config.json").is_file() and _entries(out):
        raise UserError(
            f"{out} is not empty, and holds no fine-tuning to go on with. Choose another --out."
        )
    tuning, about = _begun(run, make_family(family_spec), config, split, demos)
    with (
        files.locked(out),
        asked_to_stop() as asked,
        Progress(config.steps, "gradient steps") as progress,
    ):
        run_folder.claim(out, about, resume=resume)
        if not trainable.is_saved(out):
            progress.describe(
                f"{config.tuner} on {about['family']}, {about['split']}, {about['signal']}"
            )
            if not _tune(tuning, out, asked, progress, checkpoint_every):
                return None
        shutil.rmtree(out / _CHECKPOINTS, ignore_errors=True)
    return about | {"env_steps": run_folder.last(out, "env_steps") or tuning.signal.env_steps}


def _begun(
    run: str, family: TaskFamily, config: Config, split: str, demos: str
) -> tuple[Tuning, dict[str, Any]]:
    """A tuning before its first step, and what identifies it.

    Raises:
        UserError: what is asked for does not fit the policy, or ``run`` holds none.
    """
    shown = data.stored(Path(demos), family) if demos else None
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
    agent = _transformer(run, family)
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
        "kind": training.FINETUNED,
        "suite_version": SUITE_VERSION,
        "family": family.id,
        "family_hash": family.hash,
        "method": f"{config.tuner}_{run_folder.read_config(Path(run))['method']}",
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
    """All that is left to do in a folder that is this tuning's; False if a signal asked to stop, and all is saved."""
    if not (out / "base").is_dir():
        with base_policy.quiet():
            files.write_folder(out / "base", tuning.tuned.base.save_pretrained)
    _restore(tuning, out, progress.print)
    log = run_folder.Log(out, tuning.grad_steps, "grad_steps", progress.print)
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
    """A checkpoint, named by gradient steps."""
    checkpoint.save_step(out / _CHECKPOINTS, tuning.grad_steps, tuning.state_dict())


def _restore(tuning: Tuning, out: Path, tell: Callable[[str], None]) -> None:
    """The state of the last checkpoint, if there is one.

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
    """What was learned, its weights last: a folder that has them is finished."""
    made = out / ".tuned"
    shutil.rmtree(made, ignore_errors=True)
    files.write_folder(made, tuned.save)
    for path in sorted(made.iterdir(), key=lambda path: (path.suffix == ".safetensors", path.name)):
        path.replace(out / path.name)
    made.rmdir()


def _entries(out: Path) -> list[Path]:
    """What a folder holds, but for locks and files that were never finished; nothing if it is no folder."""
    try:
        return [path for path in out.iterdir() if path.name != ".lock" and path.suffix != ".tmp"]
    except OSError:
        return []


def load_agent(place: str, family: TaskFamily) -> InContext:
    """The agent that a folder of ``finetune`` holds.

    Raises:
        UserError: a folder of another family or version, or one that cannot be read.
    """
    folder, about = Path(place), _about(place)
    training.refuse_other_family(folder, about, family)
    if not trainable.is_saved(folder):
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
        supervision=f"{before.supervision}, then {'histories' if about['signal'] == 'demos' else 'reward'}",
        selection_rule="last gradient step",
        params_total=about["params_total"],
        params_trained=about["params_trained"],
    )
    policy = trainable.load(base, folder)
    files.verify(folder)
    return _KINDS[about["reads"]](policy, card)


def on_others(place: str, family: TaskFamily, plan: Plan) -> Plan:
    """The same without tasks that a folder of ``finetune`` was tuned on, where others of a finite list are left."""
    tuned, size = _tuned(place, family), family.support(plan.split)
    if not tuned or size is None:
        return plan
    known = tuple(
        n for n, task in enumerate(_named(family, plan.split, torch.arange(size))) if task in tuned
    )
    return dataclasses.replace(plan, left_out=known) if len(known) < size else plan


def shared(place: str, family: TaskFamily, plans: Iterable[Plan]) -> list[str]:
    """A sentence for each plan that leaves tasks out, or scores some that a folder of ``finetune`` was tuned on."""
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
    """The tasks that it was tuned on; none where it has imitated others on training tasks, as every learner may."""
    about = _about(place)
    return (
        set(_named(family, about["split"], torch.tensor(about["tasks"])))
        if about["tasks"]
        else set()
    )


def _named(family: TaskFamily, split: str, numbers: Int[Tensor, " k"]) -> list[bytes]:
    """Tasks by their parameters."""
    return task_keys(family.sample(split, numbers))


def _distinct(family: TaskFamily, split: str, numbers: Int[Tensor, " k"]) -> list[int]:
    """Some tasks, each but once whatever its numbers."""
    return list(dict(zip(_named(family, split, numbers), numbers.tolist(), strict=True)).values())


def _transformer(run: str, family: TaskFamily) -> InContext:
    """The agent of a run that has a policy to tune."""
    wanted = f"a trained transformer: metabridge train icl_rl --family {family.id} --out RUN"
    if not training.is_run(run):
        raise UserError(
            f"{run} is no run folder: it has no config.json. Give the folder of {wanted}"
        )
    if training.is_tuned(run):
        raise UserError(
            f"{run} is tuned already. Tune the run that it came from: {_about(run)['base']['run']}"
        )
    agent = training.load_agent(run, family)
    if isinstance(agent, FineTuned) and isinstance(agent.tuner, PretrainedLora):
        raise UserError(
            f"{run} has adapters already, which begin where it was trained to. Tune a run of mt."
        )
    if isinstance(agent, FineTuned):  # a run of lora_*, whose adapters begin with nothing
        agent = agent.agent
    if not isinstance(agent, InContext):
        name = run_folder.read_config(Path(run))["method"]
        raise UserError(
            f"{run} holds a run of {name}, which is no transformer. Give the folder of {wanted}"
        )
    return agent


def _about(place: str) -> dict[str, Any]:
    """What its config.json says.

    Raises:
        UserError: it cannot be read, or lacks a key, or has a value of another type.
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
