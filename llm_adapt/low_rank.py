"""Low-rank adapters of many tasks at once (Hu et al. 2021, arXiv 2106.09685): one pass of a frozen base for all.

    y = W x + alpha / r * B_n A_n x,    for the rows of task n

peft has one model a task. Here the N adapters of a module are two tensors, and a pass of N tasks is one pass of the
base and two small products a module. The decoder's layers do not change: hooks add the update to a layer's output.
Files are peft's own, one adapter each.

Shape letters: N adapters, T tokens, r rank, I inputs and O outputs of a module.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import peft
import torch
from jaxtyping import Float
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils import set_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from bridge.errors import UserError
from bridge.rng import Rows
from llm_adapt import adapter_files
from llm_adapt.base_policy import check_base, fingerprint
from llm_adapt.local_files import ADAPTER_CONFIG
from llm_adapt.policy import TransformerPolicy

Linear = nn.Linear | Conv1D
_LARGEST = 1 << 24
"""Largest rank and alpha: float32 represents all integers up to this."""


class Adapters(NamedTuple):
    """The adapters of N tasks, by the name of the adapted module; every tensor leads with N, as a memory's do."""

    down: dict[str, Float[Tensor, "N r I"]]
    """A in the paper."""
    up: dict[str, Float[Tensor, "N O r"]]
    """B in the paper; initially zero."""


@dataclass(frozen=True, kw_only=True)
class BatchedLora:
    """Rank, scale and modules of adapters."""

    rank: int = 8
    """r, no larger than the smaller side of each module."""
    alpha: int = 16
    """Scale of the updates, times r."""
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Names of linear modules of the decoder, or their ends: ``v_proj``, or ``mlp.c_proj`` if an end is ambiguous."""

    def modules(self, policy: PreTrainedModel) -> dict[str, Linear]:
        """The adapted modules by name.

        Raises:
            UserError: the decoder has no such target, or the rank is too large for a module.
        """
        linear = _linear(policy)
        for target in self.targets:
            if not any(_matches(name, target) for name in linear):
                ends = sorted({name.rsplit(".", 1)[-1] for name in linear})
                raise UserError(
                    f"There is no module {target!r} to adapt in this backbone. There are: {', '.join(ends)}."
                )
        adapted = {
            name: module
            for name, module in linear.items()
            if any(_matches(name, target) for target in self.targets)
        }
        for name, module in adapted.items():
            inputs, outputs = _sides(module)
            most = min(inputs, outputs)
            if not 1 <= self.rank <= most:
                raise UserError(
                    f"rank={self.rank} does not fit {name}, which is {inputs} x {outputs}. Choose one from 1 to {most}."
                )
        return adapted

    def new(self, policy: PreTrainedModel, rng: Rows) -> Adapters:
        """An adapter for each row of ``rng`` that changes nothing yet; ``down`` has peft's initial distribution."""
        down, up = {}, {}
        for name, module in self.modules(policy).items():
            inputs, outputs = _sides(module)
            u = rng.at(f"adapter/{name}").uniform(self.rank * inputs).view(-1, self.rank, inputs)
            down[name] = ((2 * u - 1) * inputs**-0.5).to(policy.dtype)
            up[name] = torch.zeros(
                len(rng), outputs, self.rank, dtype=policy.dtype, device=rng.device
            )
        return Adapters(down, up)

    @contextmanager
    def on(self, policy: PreTrainedModel, adapters: Adapters) -> Generator[PreTrainedModel]:
        """A context in which the policy has an adapter for each task.

        A call is on N k rows, of which the first k are the first task's. Gradients flow to the adapters, and to those
        of the policy's own weights that require them.
        """
        scale = self.alpha / self.rank
        hooks = [
            module.register_forward_hook(
                partial(_add, down=adapters.down[name], up=adapters.up[name], scale=scale)
            )
            for name, module in self.modules(policy).items()
        ]
        try:
            yield policy
        finally:
            for hook in hooks:
                hook.remove()

    def save(self, policy: PreTrainedModel, adapters: Adapters, row: int, folder: Path) -> None:
        """Write one task's adapter in peft's files, for ``peft.PeftModel.from_pretrained(policy, folder)``."""
        wrapped = peft.get_peft_model(copy.deepcopy(policy), self.in_peft(policy))
        weights = {
            _key(name, letter): value[row].detach()
            for letter, side in zip("AB", adapters, strict=True)
            for name, value in side.items()
        }
        set_peft_model_state_dict(wrapped, weights)
        wrapped.peft_config["default"].base_model_name_or_path = fingerprint(policy)
        # save_embedding_layers="auto" would look the base up on the hub
        wrapped.save_pretrained(str(folder), save_embedding_layers=False)

    def in_peft(self, policy: PreTrainedModel) -> peft.LoraConfig:
        """The same settings as peft's config."""
        transposed = any(isinstance(module, Conv1D) for module in self.modules(policy).values())
        return peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=list(self.targets),
            lora_dropout=0.0,
            fan_in_fan_out=transposed,
        )


def load(policy: PreTrainedModel, folder: Path) -> tuple[BatchedLora, Adapters]:
    """A plain LoRA adapter in peft's files, as adapters of N = 1 task; its targets are full names.

    Raises:
        UserError: there is none, it is of another kind, one of its settings is not computed in the same way here, or it
            was made for another policy.
    """
    config, weights = adapter_files.read(folder)
    if not isinstance(config, peft.LoraConfig):
        raise UserError(
            f"{folder} holds an adapter of kind {config.peft_type}; expected LORA. Choose another folder."
        )
    check_base(config, policy, folder)
    for name in ("r", "lora_alpha"):
        value = getattr(config, name)
        if type(value) is not int or value > _LARGEST:
            raise UserError(
                f"{folder} holds an adapter with {name}={value!r}; expected a whole number up to {_LARGEST}. Train an "
                "adapter with one."
            )
    targets = _targets(config, policy, folder)
    lora = BatchedLora(rank=config.r, alpha=config.lora_alpha, targets=targets)
    expected = {}
    for name, module in lora.modules(policy).items():
        inputs, outputs = _sides(module)
        expected |= {_key(name, "A"): (lora.rank, inputs), _key(name, "B"): (outputs, lora.rank)}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise UserError(
                f"{folder} holds other weights than its {ADAPTER_CONFIG} says: {name} has shape {found.get(name)}, "
                f"expected {expected.get(name)}. Save the adapter again."
            )

    def side(letter: str) -> dict[str, Tensor]:
        return {name: weights[_key(name, letter)][None].to(policy.dtype) for name in targets}

    return lora, Adapters(side("A"), side("B"))


def _key(name: str, letter: str) -> str:
    """The name in peft's files of a module's matrix A or B."""
    return f"base_model.model.{name}.lora_{letter}.weight"


def _targets(config: peft.LoraConfig, policy: PreTrainedModel, folder: Path) -> tuple[str, ...]:
    """The full names of the modules that peft would adapt, by names, ends of names, a pattern or layers.

    Raises:
        UserError: there are none, or not all are linear modules of the decoder.
    """
    try:
        names = [
            name for name, _ in policy.named_modules() if check_target_module_exists(config, name)
        ]
    except (re.error, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{folder} holds an adapter whose modules cannot be matched ({error}). Save it again."
        ) from error
    others = sorted(set(names) - _linear(policy).keys())
    if others or not names:
        found = ", ".join(map(repr, others)) if others else "no module"
        raise UserError(
            f"{folder} holds an adapter of {found}; expected linear modules of the backbone. Train one of these."
        )
    return tuple(names)


def _linear(policy: PreTrainedModel) -> dict[str, Linear]:
    """The linear modules of the decoder by name."""
    prefix = "backbone" if isinstance(policy, TransformerPolicy) else policy.base_model_prefix
    modules = getattr(policy, prefix).named_modules(prefix=prefix)
    return {name: module for name, module in modules if isinstance(module, Linear)}


def _matches(name: str, target: str) -> bool:
    """True if peft would apply a target to this module."""
    return name == target or name.endswith(f".{target}")


@dataclass(frozen=True)
class PretrainedLora:
    """Adapters that start from trained values."""

    low_rank: BatchedLora
    start: Adapters
    """The trained values, N = 1."""

    def new(self, policy: PreTrainedModel, rng: Rows) -> Adapters:
        """A copy for each row; gradients flow back to ``start``."""
        rows = (
            {name: x.to(policy.dtype).expand(len(rng), -1, -1) for name, x in side.items()}
            for side in self.start
        )
        return Adapters(*rows)

    def on(
        self, policy: PreTrainedModel, adapters: Adapters
    ) -> AbstractContextManager[PreTrainedModel]:
        """A context in which the policy has an adapter for each task, as ``BatchedLora.on``."""
        return self.low_rank.on(policy, adapters)


def batched(policy: PreTrainedModel, *, rank: int, alpha: int, targets: str = "") -> BatchedLora:
    """Adapters of the modules that ``targets`` names, joined by +.

    Empty: queries and values of attention; in GPT-2, whose keys are in the same module, these too.

    Raises:
        UserError: as ``BatchedLora.modules``.
    """
    config = getattr(policy.config, "backbone_config", policy.config)
    gpt2 = config.model_type == "gpt2"
    named = targets or ("c_attn" if gpt2 else "q_proj+v_proj")
    made = BatchedLora(rank=rank, alpha=alpha, targets=tuple(named.split("+")))
    made.modules(policy)  # raises now rather than in a trial
    return made


def _sides(module: Linear) -> tuple[int, int]:
    """Numbers of inputs and outputs of a linear module; GPT-2 keeps its weights transposed."""
    rows, columns = module.weight.shape
    return (rows, columns) if isinstance(module, Conv1D) else (columns, rows)


def _add(
    module: nn.Module,
    inputs: tuple[Float[Tensor, "Nk T I"], ...],
    output: Float[Tensor, "Nk T O"],
    *,
    down: Float[Tensor, "N r I"],
    up: Float[Tensor, "N O r"],
    scale: float,
) -> Float[Tensor, "Nk T O"]:
    """A module's output with each task's update, as a forward hook."""
    x, y = (part.reshape(len(down), -1, part.shape[-1]) for part in (inputs[0], output))
    return torch.baddbmm(y, torch.bmm(x, down.mT), up.mT, alpha=scale).view_as(output)
