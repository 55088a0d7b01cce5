"""Every method that is trained, and every method of fine-tuning at test, by name.

An entry holds the place of a method's parts, and how its agents adapt. The parts are imported at first use, so that
names are known without torch, and bandits are played without transformers. Another package adds a method by an entry
point:

    [project.entry-points."metabridge.methods"]
    my_method = "my_package.registration:MY_METHOD"    # a Method
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from bridge import config
from bridge.errors import UserError
from bridge.plugins import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.protocol import Learner
    from bridge.training.search_space import Space

TUNING_SEED = 1000
"""Training seed of every configuration of a search: reported runs are trained with other seeds."""
Signal = Literal["reward", "demos"]
SIGNALS: tuple[Signal, ...] = ("reward", "demos")
"""Signals of gradient steps at test: a policy gradient, or behaviour cloning."""
Reads = Literal["trial", "episode", "nothing"]
"""Scope of the context that decisions depend on: all of the trial so far, the episode so far, or neither."""


@dataclass(frozen=True)
class Method:
    """A method that is trained."""

    module: str
    """The module that holds ``Config``, ``SPACE`` and the learner."""
    learner_name: str
    reads: Reads = "trial"
    takes_steps: bool = False
    """True if its agents take gradient steps within a trial."""
    transformer: bool = False
    """True if its policy is a transformer, which adapters fit."""
    known_tasks: bool = False
    """True if its policy is given the ids of known tasks (``--family F:tasks=N``), without which it is one for all."""
    of_test_tasks: bool = False
    """True if it trains on test tasks, as a reference may: nothing is chosen or watched on ``id_val``."""
    budget_share: float = 1.0
    """Share of a size's budget of environment steps: less for methods that take longer over each of them."""
    signal: Signal = "reward"
    """Signal of its gradient steps at test."""
    base: str = ""
    """The method that pretrains its policy, if its adapters start from zero in every trial."""
    config_name: str = "Config"
    """The dataclass of its parameters, in ``module``."""
    reads_text: bool = False
    """True if its policy is a pretrained language model, whose agents play every family that has a description."""

    @cached_property
    def _module(self) -> Any:
        return importlib.import_module(self.module)

    @property
    def config(self) -> type[Any]:
        """The dataclass of its parameters."""
        return getattr(self._module, self.config_name)

    @property
    def space(self) -> Space:
        """The search space of its parameters."""
        return self._module.SPACE

    @property
    def learner(self) -> Callable[..., Learner]:
        """The class that trains it: ``learner(family, config, seed=, workers=)``."""
        return getattr(self._module, self.learner_name)

    @property
    def about(self) -> str:
        """The docstring that describes it."""
        return self._module.__doc__ or ""

    @property
    def adapts(self) -> str:
        """The ways in which its agents adapt within a trial, as rows name them (``Card.adapts``)."""
        ways = {"context": self.reads == "trial", "gradient": self.takes_steps}
        return ", ".join(way for way, taken in ways.items() if taken) or "nothing"

    @property
    def can_be_tuned(self) -> bool:
        """True if test-time methods can move the weights of its agents: these take no gradient steps of their own, and
        the outputs of their network over a trial can be computed again."""
        return self.reads != "nothing" and not self.takes_steps


@dataclass(frozen=True)
class LoraMethod(Method):
    """A base that is trained, with adapters that take gradient steps in every trial."""

    @cached_property
    def _lora(self) -> Any:
        return importlib.import_module("llm_adapt.lora")

    @cached_property
    def config(self) -> type[Any]:
        """The dataclass of the base's parameters and the adapters'."""
        return self._lora.with_base(super().config)

    @property
    def learner(self) -> Callable[..., Learner]:
        """The base's learner, whose agent is given adapters."""
        return partial(self._lora.LoraLearner, base=super().learner, signal=self.signal)

    @property
    def about(self) -> str:
        """The docstring that describes the adapters."""
        return self._lora.__doc__ or ""


def _transformer(module: str, learner: str, **about: Any) -> Method:
    return Method(f"llm_adapt.{module}", learner, transformer=True, **about)


def _with_lora(name: str, signal: Signal) -> LoraMethod:
    base = _METHODS[name]
    return LoraMethod(
        base.module,
        base.learner_name,
        reads=base.reads,
        takes_steps=True,
        transformer=True,
        signal=signal,
        base=name,
    )


_METHODS: dict[str, Method] = {
    "icl_ad": _transformer("icl_ad", "IclAdLearner", budget_share=0.2),
    "icl_dpt": _transformer("icl_dpt", "IclDptLearner", budget_share=0.2),
    "icl_rl": _transformer("icl_rl", "IclRlLearner", budget_share=0.2),
    "lora_maml": _transformer("lora_maml", "LoraMamlLearner", reads="episode", takes_steps=True),
    "maml": Method("rl_algos.maml", "MamlLearner", reads="nothing", takes_steps=True),
    "mt": _transformer("multi_task", "MtLearner", reads="episode"),
    "mtrl": Method("rl_algos.mtrl", "MtrlLearner", reads="nothing", known_tasks=True),
    "mtrl_finetune": Method(
        "rl_algos.mtrl_finetune",
        "MtrlFinetuneLearner",
        reads="nothing",
        takes_steps=True,
        known_tasks=True,
    ),
    "mtrl_sac": Method(
        "rl_algos.mtrl_sac",
        "MtrlSacLearner",
        reads="nothing",
        known_tasks=True,
        budget_share=0.04,
    ),
    "mtrl_sequence": Method(
        "rl_algos.mtrl_sequence", "MtrlSequenceLearner", reads="nothing", known_tasks=True
    ),
    "pearl": Method("rl_algos.pearl", "PearlLearner", budget_share=0.04),
    "prompted_lora_ad": _transformer(
        "prompted_ad", "PromptedAdLearner", reads_text=True, budget_share=0.01
    ),
    "prompted_smollm2_lora_ad": _transformer(
        "prompted_ad",
        "PromptedAdLearner",
        config_name="SmolLm2",
        reads_text=True,
        budget_share=0.01,
    ),
    "rl2": Method("rl_algos.rl2", "Rl2Learner"),
    "specialists": Method(
        "rl_algos.specialists", "SpecialistsLearner", reads="nothing", of_test_tasks=True
    ),
}
_LORA = {
    f"lora_{signal}_{base}": _with_lora(base, signal)
    for signal in SIGNALS
    for base in ("icl_rl", "icl_ad", "icl_dpt", "mt")
}
LEARNERS: Registry[Method] = Registry(_METHODS | _LORA, "metabridge.methods", Method)
"""Learned methods by name: ours, then those of the entry points ``metabridge.methods``."""


@dataclass(frozen=True)
class TestTimeMethod:
    """A method of fine-tuning a trained run at test: the name of its settings in ``experiments.test_time``."""

    settings: str
    signal: Signal
    detects: bool = False
    """True if it takes steps only in trials that a detector calls failing."""
    hands_over: bool = False
    """True if it moves no weights, and lets another agent play the rest of a trial."""

    @property
    def config(self) -> type[Any]:
        """The dataclass of its parameters."""
        return getattr(importlib.import_module("experiments.test_time"), self.settings)


TEST_TIME_METHODS: dict[str, TestTimeMethod] = {
    "lora_reward": TestTimeMethod("Lora", "reward"),
    "lora_demos": TestTimeMethod("Lora", "demos"),
    "head_reward": TestTimeMethod("Head", "reward"),
    "head_demos": TestTimeMethod("Head", "demos"),
    "full_reward": TestTimeMethod("Full", "reward"),
    "full_demos": TestTimeMethod("Full", "demos"),
    "icl_then_lora": TestTimeMethod("Switch", "reward", detects=True),
    "handover": TestTimeMethod("HandedOver", "reward", hands_over=True),
}
"""Methods of fine-tuning a run at test, by name."""


@dataclass(frozen=True)
class PretrainedMethod:
    """An agent of a pretrained language model, which no training of ours comes before."""

    module: str
    """The module that holds its parameters, which make the agent."""
    config_name: str = "Config"
    takes_steps: bool = False
    """True if it takes gradient steps within a trial."""
    signal: Signal = "reward"

    @property
    def config(self) -> type[Any]:
        """The dataclass of its parameters."""
        return getattr(importlib.import_module(self.module), self.config_name)

    @property
    def about(self) -> str:
        """The docstring that describes it."""
        return importlib.import_module(self.module).__doc__ or ""


_FEWSHOT = "llm_adapt.prompted_fewshot"
PRETRAINED: dict[str, PretrainedMethod] = {
    "prompted": PretrainedMethod("llm_adapt.prompted"),
    "prompted_lora_fewshot": PretrainedMethod(_FEWSHOT, takes_steps=True),
    "prompted_smollm2": PretrainedMethod("llm_adapt.prompted", "SmolLm2"),
    "prompted_smollm2_lora_fewshot": PretrainedMethod(_FEWSHOT, "SmolLm2", takes_steps=True),
}
"""Agents of pretrained language models, by name; those without a model's name need ``model=``."""


def configure(spec: str, method: Method | TestTimeMethod | PretrainedMethod) -> Any:
    """Return the configuration of ``method`` that ``spec`` describes.

    Raises:
        UserError: an unknown key, an impossible value, or one that is not read.
    """
    values = config.split_spec(spec)[1]
    for_reward = set(getattr(method.config, "by_reward", ()))
    if method.signal == "demos" and (idle := values.keys() & for_reward):
        raise UserError(
            f"{spec!r} clones demonstrations; {', '.join(sorted(idle))}: for rewards. Leave it out."
        )
    return config.build(method.config, spec, values)


def name_of(spec: str) -> str:
    """Return the name in ``name:key=value``."""
    return spec.partition(":")[0].strip()
