"""Runs: a learned method trained in a folder, and the agent that the folder holds."""

from __future__ import annotations

import dataclasses
import math
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bridge import config, files, user_code
from bridge.errors import UserError, unknown
from bridge.protocol import Agent, Exportable, Learner
from bridge.references.registry import REFERENCES
from bridge.tasks import family as make_family
from bridge.tasks.base import TaskFamily
from bridge.training import loop, run_folder, workers
from bridge.training.budget import Budget
from experiments import registry, zoo
from experiments.progress import Progress
from experiments.registry import LEARNERS, PRETRAINED, TEST_TIME_METHODS, TUNING_SEED, Method

FINETUNED = "finetuned"
"""The ``kind`` in the ``config.json`` of a folder of ``metabridge finetune``."""
_EVALUATION_SHARE = 0.1
"""Share of the budget that evaluations during training may play on top of it."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training: its method, family, seed, budget and folder."""

    method: str
    """A learned method with its parameters (``rl2:hidden=128``)."""
    family: str
    seed: int
    budget: Budget
    out: Path
    """The run folder."""
    evaluations: int = loop.Schedule.evaluations
    """Evaluations on id_val while it is trained."""
    tuning_configs: int = 1
    """Configurations of which this one was the best on id_val; 1 without a search."""
    processes: int = 1
    device: str = "cpu"
    precision: workers.Precision = "no"
    tracker: str = ""
    """A tracker that Accelerate knows; empty: none."""
    checkpoint_seconds: float = loop.Schedule.checkpoint_seconds
    """Seconds between two checkpoints; 0: one after every update. It is no part of the run's identity."""

    def __post_init__(self) -> None:
        check_cadence(self.checkpoint_seconds)
        if self.processes < 1:
            raise UserError(f"--processes is 1 or more; found {self.processes}.")
        if self.tuning_configs > 1 and self.seed == TUNING_SEED:
            raise UserError(
                f"Training seed {TUNING_SEED} is the one that tuning trains with. Choose another --seed."
            )

    @property
    def env_steps(self) -> int:
        """Environment steps that it will take (a million if the budget is in another unit)."""
        return int(self.budget.amount) if self.budget.unit == "steps" else 1_000_000

    @property
    def command(self) -> str:
        """The command that makes this run, in a folder RUN."""
        unusual = "".join(
            f" --{name} {value}"
            for name, value, usual in (
                ("processes", self.processes, 1),
                ("device", self.device, "cpu"),
                ("precision", self.precision, "no"),
            )
            if value != usual
        )
        return (
            f"metabridge train {self.method} --family {self.family} --budget {self.budget.spec} --seed {self.seed}"
            f"{unusual} --out RUN"
        )


def check_cadence(seconds: float) -> None:
    """Refuse an impossible time between checkpoints.

    Raises:
        UserError: ``seconds`` is below 0, infinite or NaN.
    """
    if not 0 <= seconds < math.inf:
        raise UserError(f"--checkpoint-every is a number of seconds, 0 or more; found {seconds}.")


def train(run: Run, *, resume: bool) -> bool:
    """Train with a progress bar; return False if a signal stopped it."""
    settings(run.method)
    family = make_family(run.family)
    total = max(1, int(run.budget.amount))
    with Progress(total, str(run.budget).split(" ", 1)[1]) as progress:
        progress.describe(f"{run.method} on {family.id}")
        if notice := without_ids(run.method, family):
            progress.print(notice)
        return train_quietly(
            run,
            resume=resume,
            tell=progress.print,
            progress=lambda share: progress.reach(int(share * total)),
        )


def without_ids(method: str, family: TaskFamily) -> str:
    """Return a sentence if ``method`` is given the ids of known tasks and ``family`` has none; else an empty text."""
    name = registry.name_of(method)
    if not LEARNERS[name].known_tasks or family.tasks:
        return ""
    joint = "," if ":" in family.id else ":"
    return (
        f"{family.id} has no known tasks, so {name} learns one policy that cannot tell its tasks apart. For a policy "
        f"given the id of each: --family {family.id}{joint}tasks={family.support('train') or 20}"
    )


def train_quietly(
    run: Run,
    *,
    resume: bool,
    tell: Callable[[str], None] = files.say,
    progress: Callable[[float], None] | None = None,
) -> bool:
    """``train`` in the run's number of processes, without a bar; ``progress`` is called with the share spent."""
    with workers.helpers(run.processes, _work, run, resume):
        return _work(run, resume, tell, progress)


def train_rest(run: Run, advance: Callable[[int], None]) -> None:
    """Train the rest of a run, whose folder may hold some of it; ``advance`` is called with environment steps.

    Raises:
        KeyboardInterrupt: a signal stopped it.
    """
    told = 0

    def progress(share: float) -> None:
        nonlocal told
        now = int(share * run.env_steps)
        try:
            advance(now - told)
        except KeyboardInterrupt:
            signal.raise_signal(
                signal.SIGINT
            )  # the training loop saves what it has before it stops
        told = now

    if not train_quietly(run, resume=is_folder(str(run.out)), tell=files.say, progress=progress):
        raise KeyboardInterrupt
    advance(run.env_steps - told)


def _work(
    run: Run,
    resume: bool,
    tell: Callable[[str], None] = lambda _text: None,
    progress: Callable[[float], None] | None = None,
) -> bool:
    """The work of each process of a training."""
    name, chosen = config.split_spec(run.method)[0], settings(run.method)
    family = make_family(run.family)
    about = {
        "method": name,
        "config": dataclasses.asdict(chosen),
        "seed": run.seed,
        "tuning_configs": run.tuning_configs,
        "device": run.device,
        "precision": run.precision,
    }
    schedule = loop.Schedule(
        budget=run.budget,
        checkpoint_seconds=run.checkpoint_seconds,
        evaluations=0 if LEARNERS[name].of_test_tasks else run.evaluations,
        evaluation_trials=_evaluation_trials(run, family),
    )
    with workers.joined(
        device=run.device, precision=run.precision, tracker=run.tracker, folder=str(run.out)
    ) as team:
        learner = LEARNERS[name].learner(family, chosen, seed=run.seed, workers=team)
        finished = loop.train(
            learner,
            family,
            schedule,
            about | _for_transformers(name, learner),
            run.out,
            resume=resume,
            workers=team,
            notify=tell,
            progress=progress,
        )
        if finished and team.index == 0:
            _write_card(run, family, learner)
        return finished


def _for_transformers(name: str, learner: Learner) -> dict[str, Any]:
    """The keys of ``config.json`` by which transformers opens the run folder; none if the policy is no transformer."""
    if not LEARNERS[name].transformer or LEARNERS[name].reads_text:
        return {}
    from llm_adapt import run_policy

    return run_policy.describe(learner)


def _write_card(run: Run, family: TaskFamily, learner: Learner) -> None:
    """Write the model card into the run folder."""
    from experiments import model_card  # imports huggingface_hub

    model_card.write(run.out, family, learner.agent().card, run.command)


def _evaluation_trials(run: Run, family: TaskFamily) -> int:
    """Trials of each evaluation during training: all of them together play a tenth of its steps; from 20 to 1,000."""
    trial = family.trial("id_val")
    steps = _EVALUATION_SHARE * run.env_steps / max(1, run.evaluations)
    return max(20, min(1000, int(steps / (trial.episodes * trial.horizon))))


def settings(spec: str) -> Any:
    """Return the configuration that ``spec`` names.

    Raises:
        UserError: an unknown method, key or value.
    """
    name = registry.name_of(spec)
    if name not in LEARNERS:
        raise _not_trained(spec, name)
    return registry.configure(spec, LEARNERS[name])


def _not_trained(spec: str, name: str) -> UserError:
    """The error for what is no learned method, which says what it is."""
    played = f"Play it: metabridge evaluate {spec}"
    if name in REFERENCES:
        return UserError(f"{name} is a reference, which is not trained. {played}")
    if name in TEST_TIME_METHODS:
        return UserError(f"{name} takes gradient steps at test, and is not trained. {played}")
    if name in PRETRAINED:
        return UserError(
            f"{name} is a pretrained language model, played as it is; {name.partition('_lora')[0]}_lora_ad is trained. "
            f"{played}"
        )
    if zoo.is_entry(spec) or is_folder(spec):
        return UserError(
            f"{spec} is a run, and a method is asked for. For what comes next: metabridge show {spec}"
        )
    if ".py" in user_code.target_of(spec):
        return UserError(
            f"{spec} is code of your own. Agents are played as they are (metabridge evaluate); methods that learn are "
            "added by entry points (docs/extending.md)."
        )
    return unknown("learned method", name, LEARNERS)


def check(spec: str, family: TaskFamily) -> None:
    """Refuse a method that cannot be trained on this family, and unknown names and values."""
    LEARNERS[config.split_spec(spec)[0]].learner(family, settings(spec), seed=0)


def is_folder(place: str | Path) -> bool:
    """Return True if ``place`` is the folder of a run, trained or fine-tuned.

    Raises:
        UserError: as ``path_of``.
    """
    return (path_of(place) / "config.json").is_file()


def path_of(place: str | Path) -> Path:
    """Return the path of a folder, which may be one of the zoo (``zoo:METHOD/FAMILY``).

    Raises:
        UserError: the zoo has no such run.
    """
    return zoo.folder(str(place)) if zoo.is_entry(str(place)) else Path(place)


class Folder(NamedTuple):
    """A run folder, as its ``config.json`` describes it."""

    place: str | Path
    """Its name, as it was given: a path, or one of the zoo."""
    path: Path
    about: dict[str, Any]
    method: Method | None
    """The learned method; None if the run was fine-tuned for a family."""

    @property
    def configuration(self) -> Any:
        """The configuration of the method.

        Raises:
            UserError: settings of another version of it, or a run that was fine-tuned.
        """
        if self.method is None:
            raise UserError(
                f"{self.place} is tuned already, for a whole family. Take the run that it came from."
            )
        made = self.method.config
        values = made.legacy_defaults | self.about["config"]
        try:
            return config.rebuild(made, f"{self.place}/config.json", values)
        except UserError as error:
            raise UserError(
                f"{self.place} was written by another version of its method, or edited ({error}) Train it again."
            ) from None

    def learner(self, family: TaskFamily) -> Learner:
        """Return the learner of the run, before anything is restored.

        Raises:
            UserError: a run on another family or of another version, or one that was fine-tuned.
        """
        configuration = self.configuration
        run_folder.check_config(self.path, self.about, _KEYS, "tuning_configs", "earlier_budgets")
        if self.method is None or not self.method.reads_text:
            refuse_other_family(self.place, self.about, family)
        if self.method is not None and self.method.of_test_tasks:
            family = make_family(
                self.about["family"]
            )  # with as many test tasks as it was trained on
        return LEARNERS[self.about["method"]].learner(
            family, configuration, seed=self.about["seed"]
        )


def read(place: str | Path) -> Folder:
    """Return the description of a run folder.

    Raises:
        UserError: it is no run folder, cannot be read, or is of an unknown method.
    """
    path = path_of(place)
    if not is_folder(place):
        raise UserError(
            f"{place} is no run folder: it has no config.json. Give the folder of metabridge train or finetune, or a "
            "run of metabridge list zoo."
        )
    about = run_folder.read_config(path)
    if about.get("kind") == FINETUNED:
        return Folder(place, path, about, None)
    run_folder.check_config(path, about, {"method": str, "config": dict, "seed": int})
    if about["method"] not in LEARNERS:
        raise unknown(f"method in {place}:", about["method"], LEARNERS)
    return Folder(place, path, about, LEARNERS[about["method"]])


def load_agent(place: str, family: TaskFamily) -> Agent:
    """Return the agent of a run folder: that of its last checkpoint, whether or not the budget is spent.

    Raises:
        UserError: no run folder, a run on another family or of another version, or one without a checkpoint.
    """
    run = read(place)
    folder, about, count = run.path, run.about, run.about.get("tuning_configs", 1)
    learner = run.learner(family)
    if not run_folder.restore_agent(folder, learner, files.say):
        raise UserError(
            f"{place} has no checkpoint to play. Train it: metabridge train ... --out {folder} --resume"
        )
    agent = learner.agent()
    rule = "last checkpoint" + (
        f" of the best of {count} configurations on id_val" if count > 1 else ""
    )
    name = place if zoo.is_entry(place) else folder.name
    agent.card = dataclasses.replace(
        agent.card,
        method=f"{about['method']} ({name})",
        adapts=LEARNERS[about["method"]].adapts,
        selection_rule=rule + (", trained further" if about.get("earlier_budgets") else ""),
        tuning_configs=count,
    )
    return agent


def export(place: str, out: Path, about: Mapping[str, Any]) -> None:
    """Write the agent of a run into a small folder that plays as the run does, in half precision.

    Args:
        place: a run folder.
        out: a new folder.
        about: the origin of the run, for its ``config.json``.

    Raises:
        UserError: as ``load_agent``, or ``out`` is there already.
    """
    run = read(place)
    learner = run.learner(make_family(run.about["family"]))
    if not isinstance(learner, Exportable):
        raise UserError(
            f"{place} is of a learner without agent_state, which cannot be exported. Copy its folder."
        )
    run_folder.export(run.path, out, learner, about)


_KEYS = {
    "family": str,
    "family_hash": str,
    "method": str,
    "config": dict,
    "seed": int,
    "tuning_configs": int,
    "earlier_budgets": list,
}
"""Keys of a run's ``config.json``, and their types."""


def refuse_other_family(place: str | Path, about: Mapping[str, Any], family: TaskFamily) -> None:
    """Refuse a run of another family. A user's own is the same one wherever its file is: families are known by hash.

    Raises:
        UserError: ``about``, the ``config.json`` at ``place``, is of another family or version.
    """
    if about["family_hash"] == family.hash:
        return
    if about["family"] == family.id:
        raise UserError(f"{place} was trained on another version of {family.id}. Train it again.")
    raise UserError(
        f"{place} was trained on {about['family']}, not on {family.id}. Give --family {about['family']}."
    )
