"""The resolver: ``resolve(spec, family)`` decides which agent a spec names, and describes it.

    bayes, ucb1:c=0.1               a reference
    results/rl2-0                   the folder of a trained run
    zoo:icl_rl/gridnavi             a trained run that ships with the package
    zoo:icl_rl                      that of the family that is played
    results/rl2-0-lora              the folder of a run that was fine-tuned for a whole family
    lora_reward:run=results/icl-0   a trained run with gradient steps at test
    rl2:hidden=128                  a method that is trained first (``compare`` trains it)
    path/to/own.py:Mine:c=0.1       a user's own: a class, a function that makes an agent, or an agent; also module:Mine
    results/search                  the folder of a hyperparameter search, whose choice is trained first

A new kind of agent is one more class here. Names win over folders: the folder ``random`` is written ``./random``.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bridge import config, user_code
from bridge.errors import UserError, unknown
from bridge.references.registry import (
    REFERENCES,
    Constructor,
    DoesNotPlayError,
    constructor_of,
)
from bridge.tasks import is_family
from experiments import own_agents, registry, zoo
from experiments.registry import (
    LEARNERS,
    TEST_TIME_METHODS,
    Method,
    Signal,
)

if TYPE_CHECKING:
    from bridge.evaluation.plan import Plan
    from bridge.protocol import Agent, Trial
    from bridge.tasks.base import TaskFamily


DEFAULT_FAMILY = "bandit:k=5,n=10"
"""The family of commands that name neither a family nor a trained run."""


@dataclass(frozen=True)
class Source:
    """A description of the agent that a spec names, on one family: how it is loaded, and where it may play."""

    spec: str
    family: TaskFamily
    trained: ClassVar[bool] = False
    """True if it holds learned weights, so that its actions can be decoded by another rule."""

    @property
    def takes_steps(self) -> bool:
        """True if the agent takes gradient steps within a trial."""
        return False

    @property
    def trained_on(self) -> str | None:
        """The family that its weights were trained on, the only one that they play; None if it has no weights."""
        return None

    @property
    def of_family(self) -> bool:
        """False if its weights were trained on another family than ``family``."""
        return True

    def load(self, split: str) -> Agent:
        """Return the agent for ``split``, at which only references and a user's own look.

        Raises:
            UserError: there is no agent yet, or it cannot be read.
        """
        raise NotImplementedError

    @property
    def changed_at(self) -> float:
        """Time at which its weights, or the code of a user's own, last changed, in seconds since 1970; rows that are
        older are played again."""
        return 0.0

    @property
    def run_folder(self) -> Path | None:
        """The folder of the training that made its weights; None if there is none, or none that was evaluated."""
        return None

    def check_track(self, track: str) -> None:
        """Refuse a track on which the agent would have nothing to learn from."""

    def new_tasks(self, plans: list[Plan]) -> tuple[list[Plan], list[str]]:
        """Return the plans without tasks that the agent was fine-tuned on, and a sentence for each plan concerned."""
        return plans, []

    def steps_every(self, trial: Trial) -> int | None:
        """Return the number of episodes between gradient steps; None if the agent takes none."""
        return None

    @property
    def edition(self) -> str:
        """A digest of the code that it is made of, if that is a user's own, by which its histories are named."""
        return ""


@dataclass(frozen=True)
class Reference(Source):
    """An agent by rule, which may use the split (``bayes`` knows its distribution of tasks)."""

    constructor: Constructor
    parameters: dict[str, Any]

    def load(self, split: str) -> Agent:
        agent = self.constructor(self.family, split, **self.parameters)
        if self.parameters:
            agent.card = dataclasses.replace(agent.card, method=self.spec)
        return agent


@dataclass(frozen=True)
class Own(Source):
    """An agent of a user's own, which may use the split."""

    place: str
    """The spec without its parameters."""
    parameters: dict[str, Any]

    def load(self, split: str) -> Agent:
        agent = own_agents.make(self.place, self.family, split, self.parameters)
        with user_code.as_user_errors(f"{self.place} cannot be named in results"):
            agent.card = dataclasses.replace(agent.card, method=self.spec)
        return agent

    @property
    def changed_at(self) -> float:
        return user_code.changed_at(self.place)

    @property
    def edition(self) -> str:
        return user_code.digest(self.place)


@dataclass(frozen=True)
class Untrained(Source):
    """A learned method by name: an agent after training."""

    method: Method
    settings: Any

    def load(self, split: str) -> Agent:
        name = registry.name_of(self.spec)
        raise UserError(
            f"{name} is trained first: metabridge train {name} --out RUN. Then give the folder RUN instead."
        )

    def check_track(self, track: str) -> None:
        if self.method.takes_steps:
            _check_signal(self.spec, self.method.signal, track)


@dataclass(frozen=True)
class Search(Source):
    """The folder of a hyperparameter search."""

    def load(self, split: str) -> Agent:
        raise UserError(
            f"{self.spec} is a tuning folder. Train what it chose: metabridge train {self.spec} --out RUN"
        )


@dataclass(frozen=True)
class Trained(Source):
    """An agent with learned weights, which is loaded once for all splits."""

    trained = True

    @cached_property
    def agent(self) -> Any:
        """The agent."""
        raise NotImplementedError

    @property
    def trained_on(self) -> str | None:
        from experiments import runs

        return runs.read(self.spec).about["family"]

    @property
    def of_family(self) -> bool:
        from experiments import runs

        about = runs.read(self.spec).about
        return self.family.id == about["family"] or self.family.hash == about["family_hash"]

    def load(self, split: str) -> Agent:
        return self.agent

    def steps_every(self, trial: Trial) -> int | None:
        return self.agent.interval(trial) if self.takes_steps else None


@dataclass(frozen=True)
class Run(Trained):
    """The folder of a trained run."""

    method: Method

    @cached_property
    def agent(self) -> Any:
        from experiments import runs

        return runs.load_agent(self.spec, self.family)

    @property
    def takes_steps(self) -> bool:
        return self.method.takes_steps

    @property
    def run_folder(self) -> Path:
        from experiments import runs

        return runs.path_of(self.spec)

    @property
    def changed_at(self) -> float:
        from bridge.training import run_folder

        return run_folder.trained_at(self.run_folder)

    def check_track(self, track: str) -> None:
        if self.takes_steps:
            _check_signal(self.spec, self.method.signal, track)


@dataclass(frozen=True)
class Finetuned(Trained):
    """The folder of a run that was fine-tuned for a whole family; it takes no more gradient steps."""

    @cached_property
    def agent(self) -> Any:
        from experiments import finetuned

        return finetuned.load_agent(self.spec, self.family)

    def new_tasks(self, plans: list[Plan]) -> tuple[list[Plan], list[str]]:
        from experiments import finetuned

        plans = [finetuned.on_new_tasks(self.spec, self.family, plan) for plan in plans]
        return plans, finetuned.overlap_notices(self.spec, self.family, plans)


@dataclass(frozen=True)
class TestTime(Trained):
    """A trained run with gradient steps at test."""

    base: Run
    settings: Any
    takes_steps = True

    @property
    def name(self) -> str:
        """The test-time method."""
        return registry.name_of(self.spec)

    @property
    def signal(self) -> Signal:
        """Signal of the gradient steps."""
        return TEST_TIME_METHODS[self.name].signal

    @cached_property
    def agent(self) -> Any:
        from experiments import test_time

        return test_time.agent(self)

    @property
    def run_folder(self) -> Path:
        return self.base.run_folder

    @property
    def trained_on(self) -> str | None:
        return self.base.trained_on

    @property
    def of_family(self) -> bool:
        return self.base.of_family

    @property
    def changed_at(self) -> float:
        return self.base.changed_at

    def check_track(self, track: str) -> None:
        _check_signal(self.spec, self.signal, track)
        if track == "C" and TEST_TIME_METHODS[self.name].detects:
            raise UserError(
                f"{self.spec} detects failure by its own play, and track C shows another agent's. Ask for --track O or "
                "F."
            )


@dataclass(frozen=True)
class Behaviour(Source):
    """The agent that makes the context of track C: ``base``, except where the split sets the context's quality."""

    base: Source

    @classmethod
    def of(cls, spec: str, family: TaskFamily) -> Behaviour:
        """Resolve ``spec``; empty: random."""
        return cls(spec, family, resolve(spec or "random", family))

    def load(self, split: str) -> Agent:
        parsed = self.family.split(split)
        if parsed.axis == "context_quality":
            return load(f"graded:noise={parsed.value}", self.family, split)
        return self.base.load(split)


def resolve(spec: str, family: TaskFamily) -> Source:
    """Return a description of the agent that ``spec`` names, on ``family``.

    Raises:
        DoesNotPlayError: a reference that is not made for this kind of family.
        UserError: an unknown name, key or value, or a folder that holds nothing to play.
    """
    name = registry.name_of(spec)
    if name in REFERENCES:
        return _reference(spec, family)
    if name in LEARNERS:
        return Untrained(spec, family, LEARNERS[name], registry.configure(spec, LEARNERS[name]))
    if name in TEST_TIME_METHODS:
        settings = registry.configure(spec, TEST_TIME_METHODS[name])
        return TestTime(spec, family, _base(name, settings.run, family), settings)
    if own_place(spec):
        return _own(spec, family)
    if not (zoo.is_entry(spec) or os.sep in spec or Path(spec).is_dir()):
        raise unknown("method or run", name, [*REFERENCES, *LEARNERS, *TEST_TIME_METHODS])
    return folder(spec, family)


def own_family(spec: str) -> str:
    """Return the family that the run in ``spec`` was trained on; ``DEFAULT_FAMILY`` if ``spec`` names no run.

    Raises:
        UserError: as ``trained_on``.
    """
    return trained_on(spec) or DEFAULT_FAMILY


def trained_on(spec: str) -> str | None:
    """Return the family that the run in ``spec`` was trained on; None if ``spec`` names no run of one family.

    Raises:
        UserError: as ``resolve``, or the run's ``config.json`` cannot be read.
    """
    from experiments import runs

    run = run_in(spec)
    if not run or zoo.is_method(run) or not runs.is_folder(run):
        return None
    return runs.read(run).about["family"]


def run_in(spec: str) -> str:
    """Return the part of ``spec`` that names the folder of a run: all of it, ``run=`` of a method at test, or none."""
    name = registry.name_of(spec)
    if name in TEST_TIME_METHODS:
        return registry.configure(spec, TEST_TIME_METHODS[name]).run
    return "" if is_name(spec) else spec


def seeds(spec: str, family: TaskFamily) -> dict[int, str]:
    """Return the spec of each training seed that ``spec`` stands for: all that the zoo has, if it names none.

    What has no training seed is of seed 0.
    """
    from experiments import runs

    run = run_in(spec)
    if zoo.is_entry(run):
        run = _in_zoo(run, family)
        if run.count("/") == 1:
            method, name = run.removeprefix(zoo.PREFIX).split("/")
            return {
                seed: spec.replace(run_in(spec), f"{run}/{seed}")
                for seed in zoo.seeds(method, name)
            }
    if run and runs.is_folder(run):
        return {runs.read(run).about.get("seed", 0): spec}
    return {0: spec}


def is_name(spec: str) -> bool:
    """Return True if ``spec`` begins with the name of a method."""
    name = registry.name_of(spec)
    return name in REFERENCES or name in LEARNERS or name in TEST_TIME_METHODS


def own_place(spec: str) -> str:
    """Return the place of a user's own agent in ``spec`` (``own.py:Mine``); empty if ``spec`` names something else."""
    return "" if is_name(spec) or zoo.is_entry(spec) else user_code.target_of(spec)


def label(spec: str) -> str:
    """Return the name of ``spec`` in a comparison: ``lora_reward_icl_rl`` for ``lora_reward:run=zoo:icl_rl``."""
    name, run = registry.name_of(spec), run_in(spec)
    if zoo.is_method(run) and spec == f"{name}:run={run}":
        return f"{name}_{run.removeprefix(zoo.PREFIX)}"
    return spec


def names() -> dict[str, str]:
    """Return the names that methods have in results, each with the method that it is made from (empty: none).

    A run with gradient steps at test is named after both methods: ``full_reward_rl2``. A run of the zoo is
    ``zoo:rl2`` beside the ``rl2`` that ``compare`` trains.
    """
    ours = LEARNERS.builtin
    bases = [name for name in LEARNERS if name not in ours or not ours[name].base]
    made = {f"{zoo.PREFIX}{base}": base for base in bases}
    made |= {f"{method}_{base}": base for method in TEST_TIME_METHODS for base in bases}
    return dict.fromkeys([*bases, *REFERENCES], "") | made


def plays(spec: str, family: TaskFamily) -> bool:
    """Return True if ``spec`` plays this kind of family; what is trained plays the family that it was trained on.

    Raises:
        UserError: as ``resolve``.
    """
    try:
        return resolve(spec, family).of_family
    except DoesNotPlayError:
        return False


def load(spec: str, family: TaskFamily, split: str) -> Agent:
    """Return the agent that ``spec`` names, for ``split`` of ``family``.

    Raises:
        UserError: as ``resolve``, or there is no agent yet.
    """
    return resolve(spec, family).load(split)


def _reference(spec: str, family: TaskFamily) -> Reference:
    name, values = config.split_spec(spec)
    make = constructor_of(name, family)
    return Reference(spec, family, make, _converted(spec, values, parameters(make)))


def _own(spec: str, family: TaskFamily) -> Own:
    place = own_place(spec)
    if is_family(spec):
        raise UserError(f"{place} is a family, and an agent is asked for. Give --family {spec}")
    _, values = config.split_spec(spec, place)
    return Own(spec, family, place, _converted(spec, values, own_agents.parameters(place)))


def _converted(spec: str, values: dict[str, str], defaults: dict[str, Any]) -> dict[str, Any]:
    """The parameters in ``spec``, each as the type of its default."""
    for key in values.keys() - defaults.keys():
        raise unknown(f"key in {spec!r}:", key, defaults)
    return {
        key: config.convert(spec, key, text, type(defaults[key])) for key, text in values.items()
    }


def parameters(make: Constructor) -> dict[str, Any]:
    """Return the parameters of a reference, with their defaults."""
    _family, _split, *own = inspect.signature(make).parameters.values()
    return {parameter.name: parameter.default for parameter in own}


def folder(spec: str, family: TaskFamily) -> Source:
    """Return a description of what a folder holds, whatever its name.

    Raises:
        UserError: it is neither a run folder nor one of a search.
    """
    from experiments import runs, search

    if zoo.is_method(spec):
        spec = _in_zoo(spec, family)
    if search.is_folder(spec):
        return Search(spec, family)
    run = runs.read(spec)
    return Finetuned(spec, family) if run.method is None else Run(spec, family, run.method)


def _in_zoo(spec: str, family: TaskFamily) -> str:
    """``zoo:METHOD`` as ``zoo:METHOD/FAMILY``.

    Raises:
        DoesNotPlayError: the zoo has it on other families only.
    """
    if not zoo.is_method(spec):
        return spec
    method = spec.removeprefix(zoo.PREFIX)
    if family.name not in (known := zoo.families(method)):
        raise DoesNotPlayError(
            f"{spec} has no run on {family.id}. The zoo has it on {', '.join(known)}."
        )
    return f"{spec}/{family.name}"


def _base(name: str, run: str, family: TaskFamily) -> Run:
    """The trained run whose weights a test-time method moves."""
    if not run:
        raise UserError(f"{name} tunes a trained run. Name its folder: {name}:run=RUN")
    base = folder(run, family)
    if isinstance(base, Finetuned):
        raise UserError(
            f"{run} is tuned already, for a whole family. Tune the run that it came from."
        )
    if not isinstance(base, Run):
        raise UserError(f"{run} is a tuning folder. Take one of the run folders in it: {run}/000")
    return base


def _check_signal(method: str, signal: Signal, track: str) -> None:
    """Refuse to clone where nothing is demonstrated."""
    if signal == "demos" and track != "C":
        raise UserError(
            f"{method} clones demonstrations, which only track C shows: metabridge evaluate ... --track C"
        )
