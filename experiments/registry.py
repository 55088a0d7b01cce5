"""Every method that is trained, or tuned at test, by name.

An entry says where a method's parts are; they are imported when they are first asked for. So names are known without
torch, and a bandit is played without transformers.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from bridge import config
from bridge.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.protocol import Learner
    from bridge.training.search_space import Space

TUNING_SEED = 1000
"""Training seed of every configuration while tuning: what is reported is trained with others."""
Signal = Literal["reward", "demos"]
SIGNALS: tuple[Signal, ...] = ("reward", "demos")
"""What gradient steps at test can learn from."""


@dataclass(frozen=True)
class Learned:
    """A method that is trained: a module with a ``Config`` and a ``SPACE``, and the name of the learner in it."""

    module: str
    learner_name: str

    @cached_property
    def _module(self) -> Any:
        return importlib.import_module(self.module)

    @property
    def config(self) -> type[Any]:
        """The dataclass of its parameters."""
        return self._module.Config

    @property
    def space(self) -> Space:
        """The parameters that a search draws."""
        return self._module.SPACE

    @property
    def learner(self) -> Callable[..., Learner]:
        """The class that trains it."""
        return getattr(self._module, self.learner_name)

    @property
    def about(self) -> str:
        """The docstring that describes it."""
        return self._module.__doc__ or ""


@dataclass(frozen=True)
class LearnedWithLora:
    """A base that is trained, and adapters that are tuned in every trial."""

    base: Learned
    signal: Signal

    @cached_property
    def config(self) -> type[Any]:
        """The dataclass of the base's parameters and the adapters'."""
        return self._lora.with_base(self.base.config)

    @property
    def space(self) -> Space:
        """The parameters that a search draws: the base's."""
        return self.base.space

    @property
    def learner(self) -> Callable[..., Learner]:
        """What trains it."""
        return partial(self._lora.LoraLearner, base=self.base.learner, signal=self.signal)

    @property
    def about(self) -> str:
        """The docstring that describes it."""
        return self._lora.__doc__ or ""

    @cached_property
    def _lora(self) -> Any:
        return importlib.import_module("llm_adapt.lora")


_LEARNED = {
    "icl_ad": Learned("llm_adapt.icl_ad", "IclAdLearner"),
    "icl_dpt": Learned("llm_adapt.icl_dpt", "IclDptLearner"),
    "icl_rl": Learned("llm_adapt.icl_rl", "IclRlLearner"),
    "lora_maml": Learned("llm_adapt.lora_maml", "LoraMamlLearner"),
    "maml": Learned("rl_algos.maml", "MamlLearner"),
    "mt": Learned("llm_adapt.multi_task", "MtLearner"),
    "mtrl": Learned("rl_algos.mtrl", "MtrlLearner"),
    "mtrl_finetune": Learned("rl_algos.mtrl_finetune", "MtrlFinetuneLearner"),
    "mtrl_sac": Learned("rl_algos.mtrl_sac", "MtrlSacLearner"),
    "pearl": Learned("rl_algos.pearl", "PearlLearner"),
    "rl2": Learned("rl_algos.rl2", "Rl2Learner"),
}
LEARNERS: dict[str, Learned | LearnedWithLora] = _LEARNED | {
    f"lora_{signal}_{base}": LearnedWithLora(_LEARNED[base], signal)
    for signal in SIGNALS
    for base in ("icl_rl", "icl_ad", "icl_dpt", "mt")
}
"""Learned methods by name."""


@dataclass(frozen=True)
class TestTimeMethod:
    """A way to tune a trained run at test: the name of its settings in ``experiments.in_trial``, and the signal."""

    settings: str
    signal: Signal

    @property
    def config(self) -> type[Any]:
        """The dataclass of its parameters."""
        return getattr(importlib.import_module("experiments.in_trial"), self.settings)


TEST_TIME_METHODS: dict[str, TestTimeMethod] = {
    "lora_reward": TestTimeMethod("Lora", "reward"),
    "lora_demos": TestTimeMethod("Lora", "demos"),
    "head_reward": TestTimeMethod("Head", "reward"),
    "head_demos": TestTimeMethod("Head", "demos"),
    "full_reward": TestTimeMethod("Full", "reward"),
    "full_demos": TestTimeMethod("Full", "demos"),
    "icl_then_lora": TestTimeMethod("Switch", "reward"),
}
"""Ways to tune a run, by name."""


def settings(spec: str, method: Learned | LearnedWithLora | TestTimeMethod) -> Any:
    """The configuration of ``method`` that ``spec`` describes.

    Raises:
        UserError: an unknown key, an impossible value, or one that is not read.
    """
    values = config.split_spec(spec)[1]
    if getattr(method, "signal", "reward") == "demos" and (
        idle := values.keys() & set(method.config.by_reward)
    ):
        raise UserError(
            f"{spec!r} clones what it is shown; {', '.join(sorted(idle))}: for rewards. Leave it out."
        )
    return config.build(method.config, spec, values)


def bare(spec: str) -> str:
    """The name in ``name:key=value``."""
    return spec.partition(":")[0].strip()


def is_learned(spec: str) -> bool:
    """Whether ``spec`` names a method that is trained."""
    return bare(spec) in LEARNERS


def is_way(spec: str) -> bool:
    """Whether ``spec`` names a way to tune a run."""
    return bare(spec) in TEST_TIME_METHODS
