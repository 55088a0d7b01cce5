"""Low-rank adapters of many tasks at once (Hu et al. 2021, arXiv 2106.09685): one pass of a frozen base for all.

    y = W x + alpha / r * B_n A_n x,    for the rows of task n

peft has a model a task. Here the N adapters of a module are two tensors, and a pass of N tasks is one pass of the base
and two small products a module. The decoder's layers stay as they are: the update is added where a layer's output comes
out. Files are peft's own, an adapter each.

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
from transformers.pytorch_utils import Conv1D

from bridge.errors import UserError
from bridge.rng import Rows
from llm_adapt import adapter_files
from llm_adapt.base_policy import check_base, fingerprint
from llm_adapt.local_files import ADAPTER_CONFIG
from llm_adapt.policy import TransformerPolicy

Linear = nn.Linear | Conv1D
_LARGEST = 1 << 24
"""Ranks and alphas up to this are told apart in float32."""
_PREFIX = "base_model.model."
"""Before the names of modules in peft's files."""


class Adapters(NamedTuple):
    """What N tasks add to each adapted module, by its name; every tensor leads with the tasks, as a memory's do."""

    down: dict[str, Float[Tensor, "N r I"]]
    """A of the paper."""
    up: dict[str, Float[Tensor, "N O r"]]
    """B of the paper; zeros at first."""


@dataclass(frozen=True, kw_only=True)
class BatchedLora:
    """Which modules of a policy are adapted, and how far."""

    rank: int = 8
    """r, no larger than the smaller side of each module."""
    alpha: int = 16
    """What updates are multiplied by, times r."""
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Names of linear modules of the decoder, or their ends: ``v_proj``, or ``mlp.c_proj`` if an end is not enough."""

    def modules(self, policy: TransformerPolicy) -> dict[str, Linear]:
        """The adapted modules by name.

        Raises:
            UserError: a target that the decoder does not have, or a rank that a module has no room for.
        """
        linear = {
            name: module
            for name, module in policy.named_modules()
            if name.startswith("backbone.") and isinstance(module, Linear)
        }
        ends = sorted({name.rsplit(".", 1)[-1] for name in linear})
        for target in self.targets:
            if not any(_named(name, target) for name in linear):
                raise UserError(
                    f"There is no module {target!r} to adapt in this backbone. There are: {', '.join(ends)}."
                )
        found = {
            name: module
            for name, module in linear.items()
            if any(_named(name, target) for target in self.targets)
        }
        for name, module in found.items():
            inputs, outputs = _sides(module)
            most = min(inputs, outputs)
            if not 1 <= self.rank <= most:
                raise UserError(
                    f"rank={self.rank} does not fit {name}, which is {inputs} x {outputs}. Take one from 1 to {most}."
                )
        return found

    def new(self, policy: TransformerPolicy, rng: Rows) -> Adapters:
        """An adapter for each row of ``rng`` that changes nothing yet; ``down`` is drawn as peft draws it."""
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
    def on(self, policy: TransformerPolicy, adapters: Adapters) -> Generator[TransformerPolicy]:
        """The policy with an adapter a task, for the time of a ``with``.

        A call is on N k rows, the first k of them the first task's. Gradients flow to the adapters, and to the policy's
        own weights where these ask for any.
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

    def save(self, policy: TransformerPolicy, adapters: Adapters, row: int, folder: Path) -> None:
        """One task's adapter as peft writes it: ``peft.PeftModel.from_pretrained(policy, folder)`` reads it."""
        wrapped = peft.get_peft_model(copy.deepcopy(policy), self.in_peft(policy))
        weights = {
            f"{_PREFIX}{name}.lora_A.weight": down[row] for name, down in adapters.down.items()
        }
        weights |= {f"{_PREFIX}{name}.lora_B.weight": up[row] for name, up in adapters.up.items()}
        set_peft_model_state_dict(
            wrapped, {name: value.detach() for name, value in weights.items()}
        )
        wrapped.peft_config["default"].base_model_name_or_path = fingerprint(policy)
        wrapped.save_pretrained(
            str(folder), save_embedding_layers=False
        )  # "auto" asks the hub for the base

    def in_peft(self, policy: TransformerPolicy) -> peft.LoraConfig:
        """The same as peft says it."""
        transposed = any(isinstance(module, Conv1D) for module in self.modules(policy).values())
        return peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=list(self.targets),
            lora_dropout=0.0,
            fan_in_fan_out=transposed,
        )


def load(policy: TransformerPolicy, folder: Path) -> tuple[BatchedLora, Adapters]:
    """A plain LoRA adapter in peft's files, as one of N = 1; its targets are full names.

    Raises:
        UserError: there is none, it is of another kind, it has a setting that is not computed alike, or it was made for
            another policy.
    """
    config, weights = adapter_files.read(folder)
    if not isinstance(config, peft.LoraConfig):
        raise UserError(
            f"{folder} holds an adapter of kind {config.peft_type}; only LORA can be taken in."
        )
    check_base(config, policy, folder)
    sizes = {name: getattr(config, name) for name in ("r", "lora_alpha")}
    if odd := {
        name: value for name, value in sizes.items() if type(value) is not int or value > _LARGEST
    }:
        raise UserError(
            f"{folder} holds an adapter with {odd}, where whole numbers are needed. Make one with these."
        )
    found = BatchedLora(
        rank=config.r, alpha=config.lora_alpha, targets=_targets(config, policy, folder)
    )
    sides = {name: _sides(module) for name, module in found.modules(policy).items()}
    shapes = {
        f"{_PREFIX}{name}.lora_A.weight": (found.rank, inputs)
        for name, (inputs, _) in sides.items()
    }
    shapes |= {
        f"{_PREFIX}{name}.lora_B.weight": (outputs, found.rank)
        for name, (_, outputs) in sides.items()
    }
    has = {name: tuple(value.shape) for name, value in weights.items()}
    if odd := sorted(
        name for name in shapes.keys() | has.keys() if shapes.get(name) != has.get(name)
    ):
        raise UserError(
            f"{folder} holds other weights than its {ADAPTER_CONFIG} says: {odd[0]} is of shape {has.get(odd[0])}, not "
            f"{shapes.get(odd[0])}. Save the adapter again."
        )

    def rows(side: str) -> dict[str, Tensor]:
        return {
            name: weights[f"{_PREFIX}{name}.lora_{side}.weight"][None].to(policy.dtype)
            for name in sides
        }

    return found, Adapters(rows("A"), rows("B"))


def _targets(config: peft.LoraConfig, policy: TransformerPolicy, folder: Path) -> tuple[str, ...]:
    """The full names of the modules that peft adapts: by their names or ends, a pattern, some layers alone.

    Raises:
        UserError: none, or others than linear modules of the decoder.
    """
    try:
        names = [
            name for name, _ in policy.named_modules() if check_target_module_exists(config, name)
        ]
    except (re.error, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{folder} names modules in a way that cannot be read ({error})."
        ) from error
    linear = {
        name
        for name, module in policy.backbone.named_modules(prefix="backbone")
        if isinstance(module, Linear)
    }
    if not names or (odd := sorted(set(names) - linear)):
        said = (
            f"{', '.join(map(repr, odd))}, outside of the decoder's linear modules"
            if names
            else "no module"
        )
        raise UserError(
            f"{folder} holds an adapter of {said}. Make one of linear modules of the backbone."
        )
    return tuple(names)


def _named(name: str, target: str) -> bool:
    """Whether peft takes a target for this module."""
    return name == target or name.endswith(f".{target}")


@dataclass(frozen=True)
class PretrainedLora:
    """Adapters that begin where somebody else ended, rather than from nothing."""

    low_rank: BatchedLora
    start: Adapters
    """One, N = 1."""

    def new(self, policy: TransformerPolicy, rng: Rows) -> Adapters:
        """A copy for each row; gradients flow back to where they begin."""
        rows = (
            {name: x.to(policy.dtype).expand(len(rng), -1, -1) for name, x in side.items()}
            for side in self.start
        )
        return Adapters(*rows)

    def on(
        self, policy: TransformerPolicy, adapters: Adapters
    ) -> AbstractContextManager[TransformerPolicy]:
        """As ``BatchedLora.on``."""
        return self.low_rank.on(policy, adapters)


def targets_of(policy: TransformerPolicy) -> tuple[str, ...]:
    """What is adapted unless told: queries and values of attention, where a backbone keeps them apart."""
    return (
        ("c_attn",) if policy.config.backbone_config.model_type == "gpt2" else ("q_proj", "v_proj")
    )


def _sides(module: Linear) -> tuple[int, int]:
    """Inputs and outputs of a linear module; GPT-2 keeps its weights transposed."""
    one, two = module.weight.size()
    return (int(one), int(two)) if isinstance(module, Conv1D) else (int(two), int(one))


def _add(
    module: nn.Module,
    given: tuple[Float[Tensor, "Nk T I"], ...],
    output: Float[Tensor, "Nk T O"],
    *,
    down: Float[Tensor, "N r I"],
    up: Float[Tensor, "N O r"],
    scale: float,
) -> Float[Tensor, "Nk T O"]:
    """A module's output with every task's update."""
    x, said = (part.reshape(len(down), -1, part.shape[-1]) for part in (given[0], output))
    return torch.baddbmm(said, torch.bmm(x, down.mT), up.mT, alpha=scale).view_as(output)
