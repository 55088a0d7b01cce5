"""What a spec can name: each kind of agent is a ``Source``, which says how it is loaded and where it may play.

Sources that read run folders import torch when they are asked, so that a bandit is played without it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bridge import user_code
from bridge.errors import UserError
from bridge.references.registry import Constructor, check_models, made, models_split
from bridge.tasks import family as make_family
from experiments import own_agents, registry
from experiments.registry import TEST_TIME_METHODS, Method, PretrainedMethod, Signal

if TYPE_CHECKING:
    from bridge.evaluation.plan import Plan
    from bridge.protocol import Agent, Trial
    from bridge.tasks.base import TaskFamily
    from experiments.runs import Folder


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

    def plays_split(self, split: str) -> bool:
        """False on a split whose distribution the agent would have to know, and does not."""
        return True

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

    def plays_split(self, split: str) -> bool:
        return models_split(registry.name_of(self.spec), self.family, split)

    def load(self, split: str) -> Agent:
        name = registry.name_of(self.spec)
        check_models(name, self.family, split)
        agent = made(name, self.constructor, self.family, split, **self.parameters)
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

        run = runs.read(self.spec)
        about = run.about
        if run.method is not None and run.method.reads_text:
            return self.family.describe() is not None
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
class Pretrained(Trained):
    """A pretrained language model, with a prompt in place of a training."""

    method: PretrainedMethod
    settings: Any
    trained_on = None
    of_family = True

    @cached_property
    def agent(self) -> Any:
        from experiments import runs

        trained = None
        if self.settings.run:  # it may be played on another family, and in another format
            trained = runs.load_agent(self.settings.run, make_family(self._run.about["family"]))
        agent = self.settings.agent(self.family, registry.name_of(self.spec), trained)
        agent.card = dataclasses.replace(agent.card, method=self.spec)
        return agent

    @property
    def _run(self) -> Folder:
        """The description of the run."""
        from experiments import runs

        return runs.read(self.settings.run)

    def check(self) -> None:
        """Refuse a run that is none of a language model, or of another one.

        Raises:
            UserError: it is one of these.
        """
        if not self.settings.run:
            return
        run = self._run
        if run.method is None or not run.method.reads_text:
            raise UserError(
                f"{self.settings.run} has no adapter of a language model. Give a run of prompted_lora_ad."
            )
        model = run.configuration.model
        if self.settings.model not in ("", model):
            raise UserError(
                f"{self.settings.run} is of the model {model}; found model={self.settings.model}. Leave model out: "
                f"prompted:run={self.settings.run}"
            )

    @property
    def takes_steps(self) -> bool:
        return self.method.takes_steps

    @property
    def run_folder(self) -> Path | None:
        from experiments import runs

        return runs.path_of(self.settings.run) if self.settings.run else None

    @property
    def changed_at(self) -> float:
        from bridge.training import run_folder

        if self.run_folder:
            return run_folder.trained_at(self.run_folder)
        files = Path(self.settings.model).glob("*")
        return max((path.stat().st_mtime for path in files), default=0.0)


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
class Handover(TestTime):
    """A trained run that hands over to another agent in the course of a trial."""

    @cached_property
    def second(self) -> Source:
        """The agent that takes over."""
        from experiments import agents

        return agents.resolve(self.settings.second, self.family)

    @property
    def takes_steps(self) -> bool:
        return self.base.takes_steps or self.second.takes_steps

    def load(self, split: str) -> Agent:
        from experiments import test_time

        return test_time.handed_over(self, split)

    def plays_split(self, split: str) -> bool:
        return self.second.plays_split(split)

    def steps_every(self, trial: Trial) -> int | None:
        every = (part.steps_every(trial) for part in (self.base, self.second))
        return min(filter(None, every), default=None)

    def check_track(self, track: str) -> None:
        self.base.check_track(track)
        self.second.check_track(track)


def _check_signal(method: str, signal: Signal, track: str) -> None:
    """Refuse to clone where nothing is demonstrated."""
    if signal == "demos" and track != "C":
        raise UserError(
            f"{method} clones demonstrations, which only track C shows: metabridge evaluate ... --track C"
        )
