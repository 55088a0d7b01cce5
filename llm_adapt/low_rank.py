"""Low-rank adapters of many tasks at once (Hu et al. 2021, arXiv 2106.09685): one pass of a frozen base for all.

    y = W x + alpha / r * B_n A_n x,    for the rows of task n

peft has a model a task. Here the N adapters of a module are two tensors, and a pass of N tasks is one pass of the base
and two small products a module. The decoder's layers stay as they are: the update is added where a layer's output comes
out. Files are peft's own, an adapter each.

Shape letters: N adapters, T tokens, r rank, I inputs and O outputs of a module.
"""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import peft
import torch
from jaxtyping import Float
from peft.utils import load_peft_weights, set_peft_model_state_dict
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from bridge import files
from bridge.errors import UserError
from bridge.rng import Rows
from llm_adapt.bases import UNREADABLE, check_base, fingerprint
from llm_adapt.policy import TransformerPolicy

Linear = nn.Linear | Conv1D
_PREFIX = "base_model.model."
"""Before the names of modules in peft's files."""
_NOT_OURS = (
    "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "lora_bias", "modules_to_save", "layers_to_transform",
    "exclude_modules", "layer_replication", "megatron_config",
)  # fmt: skip
"""Settings of peft's by which an adapter says something else."""


class Adapters(NamedTuple):
    """What N tasks add to each adapted module, by its name; every tensor leads with the tasks, as a memory's do."""

    down: dict[str, Float[Tensor, "N r I"]]
    """A of the paper."""
    up: dict[str, Float[Tensor, "N O r"]]
    """B of the paper; zeros at first."""


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """Which modules of a policy are adapted, and how far."""

    rank: int = 8
    """r, no larger than the smaller side of each module."""
    alpha: int = 16
    """What updates are multiplied by, times r."""
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Ends of the names of linear modules of the decoder: ``v_proj``, or ``mlp.c_proj`` where an end is not enough."""

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
            if not any(name.endswith(f".{target}") for name in linear):
                raise UserError(
                    f"There is no module {target!r} to adapt in this backbone. There are: {', '.join(ends)}."
                )
        wanted = tuple(f".{target}" for target in self.targets)
        found = {name: module for name, module in linear.items() if name.endswith(wanted)}
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
            up[name] = torch.zeros(len(rng), outputs, self.rank, dtype=policy.dtype, device=rng.device)
        return Adapters(down, up)

    @contextmanager
    def on(self, policy: TransformerPolicy, adapters: Adapters) -> Generator[TransformerPolicy]:
        """The policy with an adapter a task, for the time of a ``with``.

        A call is on N k rows, the first k of them the first task's. Gradients flow to the adapters, and to the policy's
        own weights where these ask for any.
        """
        scale = self.alpha / self.rank
        hooks = [
            module.register_forward_hook(partial(_add, down=adapters.down[name], up=adapters.up[name], scale=scale))
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
        weights = {f"{_PREFIX}{name}.lora_A.weight": down[row] for name, down in adapters.down.items()}
        weights |= {f"{_PREFIX}{name}.lora_B.weight": up[row] for name, up in adapters.up.items()}
        set_peft_model_state_dict(wrapped, {name: value.detach() for name, value in weights.items()})
        wrapped.peft_config["default"].base_model_name_or_path = fingerprint(policy)
        wrapped.save_pretrained(str(folder), save_embedding_layers=False)  # "auto" asks the hub for the base

    def in_peft(self, policy: TransformerPolicy) -> peft.LoraConfig:
        """The same as peft says it."""
        transposed = any(isinstance(module, Conv1D) for module in self.modules(policy).values())
        return peft.LoraConfig(
            r=self.rank, lora_alpha=self.alpha, target_modules=list(self.targets), lora_dropout=0.0,
            fan_in_fan_out=transposed,
        )  # fmt: skip


def load(policy: TransformerPolicy, folder: Path) -> tuple[LowRank, Adapters]:
    """An adapter in peft's files, as one of N = 1.

    Raises:
        UserError: there is none, it is of another kind, or it was made for another policy.
    """
    files.verify(folder)
    try:
        config: Any = peft.PeftConfig.from_pretrained(str(folder))
        weights = load_peft_weights(str(folder), device="cpu")
    except UNREADABLE as error:
        raise UserError(
            f"{folder} holds no adapter of peft ({error}). Give the folder that it was saved in."
        ) from error
    if not isinstance(config, peft.LoraConfig):
        raise UserError(f"{folder} holds an adapter of kind {config.peft_type}; only LORA can be taken in.")
    if odd := sorted(name for name in _NOT_OURS if getattr(config, name, None)):
        raise UserError(f"{folder} holds an adapter with {', '.join(odd)}, which is not read here. Make one without.")
    check_base(config, policy, folder)
    found = LowRank(rank=config.r, alpha=config.lora_alpha, targets=tuple(sorted(config.target_modules)))
    names = {f"{_PREFIX}{name}.lora_{side}.weight" for name in found.modules(policy) for side in "AB"}
    if names != weights.keys():
        raise UserError(
            f"{folder} holds weights of other modules than this policy has: {sorted(names ^ weights.keys())}"
        )

    def rows(side: str) -> dict[str, Tensor]:
        return {
            name: weights[f"{_PREFIX}{name}.lora_{side}.weight"][None].to(policy.dtype)
            for name in found.modules(policy)
        }

    return found, Adapters(rows("A"), rows("B"))


@dataclass(frozen=True)
class Begun:
    """Adapters that begin where somebody else ended, rather than from nothing."""

    low_rank: LowRank
    start: Adapters
    """One, N = 1."""

    def new(self, policy: TransformerPolicy, rng: Rows) -> Adapters:
        """A copy for each row; gradients flow back to where they begin."""
        rows = ({name: x.to(policy.dtype).expand(len(rng), -1, -1) for name, x in side.items()} for side in self.start)
        return Adapters(*rows)

    def on(self, policy: TransformerPolicy, adapters: Adapters) -> AbstractContextManager[TransformerPolicy]:
        """As ``LowRank.on``."""
        return self.low_rank.on(policy, adapters)


def targets_of(policy: TransformerPolicy) -> tuple[str, ...]:
    """What is adapted unless told: queries and values of attention, where a backbone keeps them apart."""
    return ("c_attn",) if policy.config.backbone_config.model_type == "gpt2" else ("q_proj", "v_proj")


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
